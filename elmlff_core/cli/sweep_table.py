"""Table of a sweep on the screen."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from elmlff_core.cli.tables import print_in_parts
from elmlff_core.workflows.sweep.results import Sweep

MOST_ROWS = 15


def print_sweep(console: Console, sweep: Sweep) -> None:
    """Print the subsets with the lowest validation errors by the first method, with the errors of every method."""
    first = sweep.methods[0]
    errors = {(entry.subset, entry.method): entry.errors for entry in sweep.entries}
    ranked = sorted(sweep.of(first), key=lambda entry: entry.errors["valid"])
    left_out = len(ranked) - MOST_ROWS
    caption = f"{left_out} more in sweep.csv" if left_out > 0 else None
    title = f"force RMSE per frame in eV/Å, ranked by the validation error of {first}"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column("base models")
    for method in sweep.methods:
        for split in ("validation", "test"):
            table.add_column(f"{method}\n{split}", justify="right")
    table.add_column("ms per\nstructure", justify="right")
    for entry in ranked[:MOST_ROWS]:
        cells = ["+".join(entry.subset)]
        for method in sweep.methods:
            found = errors.get((entry.subset, method))
            cells += ["", ""] if found is None else [f"{found['valid']:.4f}", f"{found['test']:.4f}"]
        table.add_row(*cells, f"{1000 * sweep.cost(entry.subset):.3g}", style="bold" if entry is ranked[0] else None)
    print_in_parts(console, table)
