"""Output of the command line: lines, tables, and progress bars on terminals."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from elmlff_core.cli.task_table import Lines, duration, live_table
from elmlff_core.contracts.progress import Progress as Step
from elmlff_core.contracts.progress import ProgressCallback, Reporter, TasksCallback

if TYPE_CHECKING:
    from elmlff_core.evaluation.model_errors import ModelErrors
    from elmlff_core.report.page import Table as PageTable

LINE_INTERVAL = 20.0  # s between progress lines where there is no terminal


class ConsoleReporter(Reporter):
    """Report on standard output.

    A terminal shows progress bars with the remaining time; other outputs get a progress line from time to time.
    """

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        self.console.print(f"note: {text}", style="yellow", markup=False)

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCallback]:
        # Not the console's own opinion: it takes a pipe of Jupyter for a terminal, which sets FORCE_COLOR.
        if sys.stdout.isatty():
            yield from self._bar(title)
        else:
            yield from self._lines(title)

    @contextmanager
    def tasks(self, title: str) -> Iterator[TasksCallback]:
        if sys.stdout.isatty():
            yield from live_table(self.console, title)
        else:
            yield Lines(title, self.say, LINE_INTERVAL).show

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
        started, latest, ended = time.monotonic(), Step(0, 0), threading.Event()
        began: tuple[float, int] | None = None

        def update(step: Step) -> None:
            nonlocal latest, began
            if began is None or step.done < latest.done:  # the second of two parts begins at zero again
                began = time.monotonic(), step.done
            latest = replace(step, message=step.message or latest.message)

        def speak() -> None:
            while not ended.wait(LINE_INTERVAL):
                seconds = time.monotonic() - started
                what = f"{duration(seconds)} so far"
                left = None if began is None else _seconds_left(*began, latest, time.monotonic())
                if left is not None:
                    what = f"{100 * latest.done / latest.total:.0f} %, about {duration(left)} left"
                self.say(f"{title}: {what}. {latest.message}".rstrip())

        # In a thread, because some steps report nothing for minutes, such as the start of a base model.
        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        try:
            yield update
        finally:
            ended.set()
            speaker.join()
        seconds = time.monotonic() - started
        if seconds >= 1:
            self.say(f"{title}: done in {duration(seconds)}. {latest.message}".rstrip())


def _seconds_left(began: float, done_before: int, latest: Step, now: float) -> float | None:
    """Return the time left; None if it is not known.  What is resumed begins in the middle, with `done_before`."""
    if not done_before < latest.done < latest.total:
        return None
    return (now - began) * (latest.total - latest.done) / (latest.done - done_before)


def print_errors(
    console: Console, errors: Sequence[ModelErrors], splits: Sequence[str], titles: Mapping[str, str] | None = None
) -> None:
    """Print force errors in eV/Å: all metrics of the first split, the paper's metric of the other splits.

    `titles` head the columns of the splits; without them, their names do.

    A second table has the errors of energies and stresses, if any model has them, with a note on equal ones.  Tables
    that are too wide for the screen are printed in parts.
    Meta-models fitted with several seeds have the mean and the standard deviation over the seeds.  If any meta-model
    was fitted, the table also has the time of the fit and the number of parameters.
    """
    from elmlff_core.cli.tables import print_in_parts
    from elmlff_core.evaluation.equal_energies import equal_energies
    from elmlff_core.evaluation.model_errors import METRIC_TITLES
    from elmlff_core.evaluation.summary import with_seed_std
    from elmlff_core.report.error_tables import energy_stress_table

    # One metric of the other splits is enough to see whether the model has memorised the training structures.
    columns = [(splits[0], metric) for metric in METRIC_TITLES] + [(split, "rmse_per_frame") for split in splits[1:]]
    table = Table(title="force errors in eV/Å", title_justify="left", caption=_caption(errors), caption_justify="left")
    table.add_column("model")
    for split, metric in columns:
        table.add_column(f"{(titles or {}).get(split, split)}\n{METRIC_TITLES[metric]}", justify="right", min_width=7)
    timed = any(model.seconds is not None for model in errors)
    for title in ("minutes", "parameters") if timed else ():
        table.add_column(title, justify="right")
    several = sum(model.kind == "stack" for model in errors) > 1
    previous = None
    for model in errors:
        if previous not in (None, model.kind):
            table.add_section()
        previous = model.kind
        cells = [with_seed_std(model, split, metric) for split, metric in columns]
        name = f"{model.name} *" if several and model.chosen else model.name
        table.add_row(name, *cells, *(_costs(model) if timed else ()), style="bold" if model.chosen else None)
    print_in_parts(console, table)
    if (others := energy_stress_table(errors, splits, titles)) is not None:
        print_table(console, others)
    if note := equal_energies(errors):
        console.print(note, markup=False)


def _costs(model: ModelErrors) -> tuple[str, str]:
    minutes = "" if model.seconds is None else f"{model.seconds / 60:.1f}"
    return minutes, "" if model.n_parameters is None else f"{model.n_parameters:,}"


def _caption(errors: Sequence[ModelErrors]) -> str | None:
    lines = []
    if sum(model.kind == "stack" for model in errors) > 1:
        lines.append("* chosen by its validation error")
    if any(model.seed_std for model in errors):
        n_seeds = max(len(model.per_seed) for model in errors)
        lines.append(f"± standard deviation over {n_seeds} seeds; minutes are the mean time of one fit")
    return "\n".join(lines) or None


def print_table(console: Console, found: PageTable) -> None:
    """Print a table of a page on the screen, in parts if it is too wide."""
    from elmlff_core.cli.tables import print_in_parts

    table = Table(title=found.caption, title_justify="left")
    for place, title in enumerate(found.head):
        table.add_column(title, justify="left" if place < found.text_columns else "right")
    for cells in found.rows:
        table.add_row(*cells)
    print_in_parts(console, table, found.text_columns)


def standard_console() -> Console:
    """Return a console; outside a terminal it is wide enough for all tables."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)
