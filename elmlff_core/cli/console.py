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

from elmlff_core.protocols import Progress as Step
from elmlff_core.protocols import ProgressCallback
from elmlff_core.reporter import Reporter

if TYPE_CHECKING:
    from elmlff_core.report.table import Row

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


def print_table(console: Console, rows: Sequence[Row], parts: Sequence[str]) -> None:
    """Force errors of each row, in meV/Å-safe eV/Å with four digits, test first and training beside it."""
    table = Table(title="force errors in eV/Å", title_justify="left")
    table.add_column("model")
    titles = {"rmse_per_frame": "RMSE per frame", "rmse": "RMSE", "mae": "MAE"}
    for part in parts:
        for title in titles.values():
            table.add_column(f"{part}\n{title}", justify="right", min_width=7)
    previous = None
    for row in rows:
        if previous not in (None, row.kind):
            table.add_section()
        previous = row.kind
        cells = [f"{row.errors[part][metric]:.4f}" for part in parts for metric in titles]
        table.add_row(row.name, *cells, style="bold" if row.kind == "stack" else None)
    console.print(table)


def standard_console() -> Console:
    """A console as wide as its tables need where output is no terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)
