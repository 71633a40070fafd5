"""Output files of an ablation: one page, the table as CSV, and all results as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from elmlff_core import files
from elmlff_core.features.metrics import SPLIT_TITLES
from elmlff_core.files import write_json
from elmlff_core.report.page import Block, Page, Section, Table, Text, write_page
from elmlff_core.report.provenance import provenance
from elmlff_core.settings.run_folder import CONFIG_FILE, RunFolder
from elmlff_core.workflows.ablation.results import SHOWN_SPLITS, Ablation


def write_results(found: Ablation, counts: Mapping[str, int], run: RunFolder) -> None:
    """Write ``ablation.csv``, ``ablation.html`` and, as the last file, ``ablation.json``.

    Raises ElmlffError if a file cannot be written.
    """
    write_csv(found, run.path / "ablation.csv")
    settings = (run.path / CONFIG_FILE).read_text(encoding="utf-8")
    blocks: list[Block] = [Text(found.summary, key=True), *map(Text, found.notes), ablation_table(found)]
    page = Page(
        f"Ablation of gat over {', '.join(found.base_models)}",
        f"{counts['train']} training, {counts['valid']} validation and {counts['test']} test structures. {run.path}.",
        [Section("Variants", blocks), *provenance(settings)],
    )
    write_page(page, run.path / "ablation.html")
    write_json(run.path / "ablation.json", found.as_record(), indent=1)


def write_csv(found: Ablation, path: Path) -> None:
    """Write a line for each variant and seed; errors are in eV/Å."""
    rows: list[tuple[object, ...]] = [("variant", "seed", *SHOWN_SPLITS, "n_parameters", "seconds")]
    for variant in found.variants:
        for number in range(found.n_seeds):
            errors = (f"{variant.per_seed[split][number]:.6g}" for split in SHOWN_SPLITS)
            rows.append((variant.name, number, *errors, variant.n_parameters, f"{variant.seconds:.1f}"))
    files.write_csv(path, rows)


def ablation_table(found: Ablation) -> Table:
    """Return the table with a row for each variant."""
    titles = [SPLIT_TITLES[split] for split in SHOWN_SPLITS]
    head = ["variant", *titles, "change on\nvalidation", "parameters", "minutes"]
    body = []
    for variant in found.variants:
        change = variant.errors["valid"] / found.variants[0].errors["valid"] - 1
        parameters = "" if variant.n_parameters is None else f"{variant.n_parameters:,}"
        cells = [variant.shown(split) for split in SHOWN_SPLITS]
        body.append([variant.title, *cells, f"{100 * change:+.1f} %", parameters, f"{variant.seconds / 60:.1f}"])
    caption = "Force RMSE per frame in eV/Å."
    if found.n_seeds > 1:
        caption += f" ± is the standard deviation over {found.n_seeds} seeds; smaller differences are not significant."
    return Table(head, body, caption, key_rows=(0,))
