"""Draw the force errors on test structures of one or more runs side by side: base models, baselines and the best stack.

python benchmarks/draw_errors.py "silicon=run-Si" "molybdenum=run-Mo" errors.png
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

COLOURS = {"base model": "#9aa5b1", "baseline": "#5b8db8", "stack": "#c8553d"}


def main() -> None:
    """Draw one panel for each run of the command line, into its last argument."""
    *runs, output = sys.argv[1:]
    if not runs:
        raise SystemExit(__doc__)
    figure, axes = pyplot.subplots(1, len(runs), figsize=(4.4 * len(runs), 3.2), layout="constrained", squeeze=False)
    for axis, argument in zip(axes[0], runs, strict=True):
        title, _, folder = argument.partition("=")
        bars = test_errors(Path(folder) / "metrics.csv")
        axis.barh(
            [name for name, _, _ in bars], [error for _, _, error in bars],
            color=[COLOURS[kind] for _, kind, _ in bars],
        )  # fmt: skip
        for row, (_, _, error) in enumerate(bars):
            axis.text(error, row, f" {error:.3f}", va="center", fontsize=9)
        axis.set(title=title, xlabel="force error, eV/Å")
        axis.margins(x=0.15)
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=150)


def test_errors(path: Path) -> list[tuple[str, str, float]]:
    """Return name, kind and error of each model: base models, baselines, and of the stacks the one with least error."""
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if (row["split"], row["metric"]) == ("test", "rmse_per_frame")]
    found = [(row["name"], "stack" if "stack" in row["name"] else row["kind"], float(row["value"])) for row in rows]
    stacks = [bar for bar in found if bar[1] == "stack" and "linear" not in bar[0]]
    closed_form = [("linear combination", "baseline", bar[2]) for bar in found if bar[0] == "stack (linear)"]
    return [bar for bar in found if bar[1] != "stack"] + closed_form + stacks


if __name__ == "__main__":
    main()
