"""Draw ``errors.csv`` of `learning_curves.py` or `label_budget.py`: means over seeds, the range of seeds as a band.

    python benchmarks/draw_learning_curves.py curves/errors.csv learning-curves.png nep painn "stack (egat)"

draws the named rows; without names, all of them.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import NullLocator

Errors = dict[str, dict[int, list[float]]]  # name -> number of structures -> force errors of the seeds, eV/Å


def main() -> None:
    """Draw the table of the command line."""
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    table, output, *names = sys.argv[1:]
    errors = read(Path(table))
    figure, axis = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    for name in names or errors:
        sizes = sorted(errors[name])
        seeds = [errors[name][size] for size in sizes]
        (line,) = axis.plot(sizes, [sum(one) / len(one) for one in seeds], "o-", label=name, markersize=4)
        axis.fill_between(sizes, list(map(min, seeds)), list(map(max, seeds)), alpha=0.12, color=line.get_color(), lw=0)
    axis.set(xscale="log", yscale="log", xlabel="training structures", ylabel="force error on test structures, eV/Å")
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter("{x:.2g}")
    axis.yaxis.set_minor_formatter("{x:.2g}")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(output, dpi=150)


def read(path: Path) -> Errors:
    """Return the force RMSE per frame of each row."""
    found: Errors = defaultdict(lambda: defaultdict(list))
    with path.open() as file:
        for row in csv.DictReader(file):
            found[row["model"]][int(row["structures"])].append(float(row["rmse_per_frame"]))
    return found


if __name__ == "__main__":
    main()
