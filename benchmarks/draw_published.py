"""Draw the errors of subsets of base models over those that the paper has published, on training and unseen frames.

python benchmarks/draw_published.py methane=paper/sweep/sweep.csv methanol-cu100=run/sweep.csv published.png
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from elmlff_core.report.plots import plain_numbers
from elmlff_core.workflows.reproduction.published import Published
from elmlff_core.workflows.reproduction.studies import find_study
from elmlff_core.workflows.sweep.subsets import subset_name

SPLITS = {"train": ("training frames", "#c8553d"), "test": ("unseen frames", "#5b8db8")}


def main() -> None:
    """Draw one panel for each study of the command line, into its last argument."""
    *studies, output = sys.argv[1:]
    if not studies:
        raise SystemExit(__doc__)
    figure, axes = pyplot.subplots(1, len(studies), figsize=(4.4 * len(studies), 3.8), layout="constrained")
    for axis, argument in zip([axes] if len(studies) == 1 else axes, studies, strict=True):
        name, _, table = argument.partition("=")
        pairs = published_and_found(name, Path(table))
        published = [error for error, _ in pairs]
        for split, (title, colour) in SPLITS.items():
            axis.scatter(published, [errors[split] for _, errors in pairs], color=colour, s=24, label=title)
        low, high = min(published), max(published)
        axis.plot([low, high], [low, high], color="#444444", linewidth=1, label="equal")
        axis.set(title=name, xlabel="published error, eV/Å", yscale="log")
        axis.margins(x=0.2, y=0.15)
        plain_numbers(axis.yaxis)
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("error found here, eV/Å")
    figure.axes[0].legend(frameon=False, fontsize=9)
    figure.savefig(output, dpi=150)


def published_and_found(study: str, table: Path) -> list[tuple[float, dict[str, float]]]:
    """Return the published error and the errors by split of each subset that ``per-subset`` has fitted."""
    order, published = find_study(study).models, Published.of(study).subsets
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "per-subset"]
    names = [subset_name(tuple(sorted(row["subset"].split("+"), key=order.index))) for row in rows]
    return [
        (published[name], {split: float(row[split]) for split in SPLITS}) for name, row in zip(names, rows, strict=True)
    ]


if __name__ == "__main__":
    main()
