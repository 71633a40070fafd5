"""What a sweep leaves: ``sweep.json``, ``sweep.csv``, pictures and one page."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

from elmlff_core.report.page import write_page
from elmlff_core.report.plots import as_png
from elmlff_core.report.versions import versions
from elmlff_core.settings.run_folder import CONFIG_FILE, RunFolder
from elmlff_core.workflows.sweep.page import SweepResults, sweep_page
from elmlff_core.workflows.sweep.plots import cost_plot, heat_maps, shapley_bars, size_curves
from elmlff_core.workflows.sweep.results import Sweep

COLUMNS = ("subset", "size", "way", "test", "valid", "train", "seconds", "seconds_per_structure")


def write_sweep_report(sweep: Sweep, source: str, counts: Mapping[str, int], run: RunFolder) -> None:
    """Write everything; ``sweep.json`` comes last, and says that the rest is there.

    Parameters
    ----------
    sweep : what was found
    source : of the data
    counts : part -> number of structures
    run : where to write, with the settings

    Raises
    ------
    ElmlffError
        The page cannot be written.
    """
    summaries = [sweep.summary(way) for way in sweep.ways]
    pictures = {
        "heat_map": as_png(heat_maps(sweep)),
        "sizes": as_png(size_curves(summaries)),
        "costs": as_png(cost_plot(sweep, summaries)),
    }
    if shapley := {found.way: found.shapley["test"] for found in summaries if found.shapley}:
        pictures["shapley"] = as_png(shapley_bars(shapley))
    (run.path / "shapley.png").unlink(missing_ok=True)  # of a run that knew every subset
    for name, png in pictures.items():
        (run.path / f"{name}.png").write_bytes(png)
    write_csv(sweep, run.path / "sweep.csv")
    subtitle = (
        f"{source}: {counts['train']} training, {counts['valid']} validation and {counts['test']} test structures. "
        f"Folder {run.path}."
    )
    settings = (run.path / CONFIG_FILE).read_text()
    write_page(sweep_page(SweepResults(sweep, subtitle, pictures, settings, versions())), run.path / "sweep.html")
    partial = run.path / "sweep.json.partial"
    partial.write_text(json.dumps(sweep.as_record(), indent=1))
    partial.replace(run.path / "sweep.json")


def write_csv(sweep: Sweep, path: Path) -> None:
    """One line per subset and way; errors in eV/Å."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for entry in sweep.entries:
            errors = (f"{entry.errors[part]:.6g}" for part in ("test", "valid", "train"))
            name = "+".join(entry.subset)
            cost = f"{sweep.cost(entry.subset):.4g}"
            writer.writerow((name, len(entry.subset), entry.way, *errors, f"{entry.seconds:.4g}", cost))
