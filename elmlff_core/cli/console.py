"""What the command line shows: lines, tables, and progress bars on terminals."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from elmlff_core.contracts.progress import Progress as Step
from elmlff_core.contracts.progress import ProgressCallback, Reporter

if TYPE_CHECKING:
    from elmlff_core.evaluation.model_errors import ModelErrors
    from elmlff_core.report.page import Table as PageTable

LINE_INTERVAL = 20.0  # s between progress lines where there is no terminal


class ConsoleReporter(Reporter):
    """Speaks on standard output; bars with time left on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        self.console.print(f"note: {text}", style="yellow", markup=False)

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCallback]:
        if self.console.is_terminal:
            yield from self._bar(title)
        else:
            yield from self._lines(title)

    def _bar(self, title: str) -> Iterator[ProgressCallback]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[message]}"),
        )
        with Progress(*columns, console=self.console) as bar:
            task = bar.add_task(title, total=None, message="")

            def update(step: Step) -> None:
                message = step.message or bar.tasks[0].fields["message"]
                bar.update(task, completed=step.done, total=step.total, message=message)

            yield update

    def _lines(self, title: str) -> Iterator[ProgressCallback]:
        started = last = time.monotonic()
        message = ""

        def update(step: Step) -> None:
            nonlocal last, message
            message = step.message or message
            now = time.monotonic()
            if now - last < LINE_INTERVAL or not 0 < step.done < step.total:
                return
            last = now
            left = (now - started) * (step.total - step.done) / step.done
            self.say(f"{title}: {100 * step.done / step.total:.0f} %, about {_duration(left)} left. {message}".rstrip())

        yield update
        seconds = time.monotonic() - started
        if seconds >= 1:
            self.say(f"{title}: done in {_duration(seconds)}. {message}".rstrip())


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


TITLES = {"rmse_per_frame": "RMSE per frame", "rmse": "RMSE", "mae": "MAE"}


def print_errors(console: Console, errors: Sequence[ModelErrors], splits: Sequence[str]) -> None:
    """Force errors in eV/Å: all metrics for the first split, the paper's metric for the others beside it.

    Where meta-models were fitted with several seeds, the mean and the standard deviation over them; where any was
    fitted, the minutes it took and its parameters.
    """
    from elmlff_core.evaluation.summary import with_seed_std

    # The first split has all metrics; of the others the paper's is enough to tell whether the model has memorised.
    columns = [(splits[0], metric) for metric in TITLES] + [(split, "rmse_per_frame") for split in splits[1:]]
    table = Table(title="force errors in eV/Å", title_justify="left", caption=_caption(errors), caption_justify="left")
    table.add_column("model")
    for split, metric in columns:
        table.add_column(f"{split}\n{TITLES[metric]}", justify="right", min_width=7)
    timed = any(row.seconds is not None for row in errors)
    for title in ("minutes", "parameters") if timed else ():
        table.add_column(title, justify="right")
    several = sum(row.kind == "stack" for row in errors) > 1
    previous = None
    for row in errors:
        if previous not in (None, row.kind):
            table.add_section()
        previous = row.kind
        cells = [with_seed_std(row, split, metric) for split, metric in columns]
        name = f"{row.name} *" if several and row.chosen else row.name
        table.add_row(name, *cells, *(_costs(row) if timed else ()), style="bold" if row.chosen else None)
    console.print(table)


def _costs(row: ModelErrors) -> tuple[str, str]:
    minutes = "" if row.seconds is None else f"{row.seconds / 60:.1f}"
    return minutes, "" if row.n_parameters is None else f"{row.n_parameters:,}"


def _caption(errors: Sequence[ModelErrors]) -> str | None:
    lines = []
    if sum(row.kind == "stack" for row in errors) > 1:
        lines.append("* chosen on validation")
    if any(row.seed_std for row in errors):
        n_seeds = max(len(row.per_seed) for row in errors)
        lines.append(f"± standard deviation over {n_seeds} seeds; minutes are those of one")
    return "\n".join(lines) or None


def print_table(console: Console, found: PageTable) -> None:
    """A table of a page, on the screen."""
    table = Table(title=found.caption, title_justify="left")
    for place, title in enumerate(found.head):
        table.add_column(title, justify="left" if place < found.text_columns else "right")
    for cells in found.rows:
        table.add_row(*cells)
    console.print(table)


def standard_console() -> Console:
    """A console as wide as its tables need where output is no terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)
