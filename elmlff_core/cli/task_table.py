"""Progress of tasks that run at the same time: a live table on a terminal, and lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from elmlff_core.contracts.progress import TasksCallback, TaskState

WORTH_A_LINE = 1.0  # s


def live_table(console: Console, title: str) -> Iterator[TasksCallback]:
    """Yield a callback that shows the states of tasks in a table, which is replaced at every call."""
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        latest: Sequence[TaskState] = ()

        def show(states: Sequence[TaskState]) -> None:
            nonlocal latest
            latest = states
            live.update(table(title, states))

        yield show
    for state in latest:
        if has_a_line(state):
            console.print(ending(state), markup=False)


def table(title: str, states: Sequence[TaskState]) -> Table:
    """Return the table of the tasks that run, with the numbers of the others in its title."""
    found = Table(title=f"{title}: {counts(states)}", title_justify="left")
    for heading in ("task", "where", "done", "left", ""):
        found.add_column(heading, justify="right" if heading in ("done", "left") else "left")
    for state in states:
        if state.state == "running":
            found.add_row(state.name, state.where, share(state), left(state), state.progress.message)
    return found


class Lines:
    """Prints a line when a task ends, and from time to time one for all that run."""

    def __init__(self, title: str, say: Callable[[str], None], interval: float) -> None:
        self.title, self.say, self.interval = title, say, interval
        self.spoken, self.ended = time.monotonic(), set[str]()

    def show(self, states: Sequence[TaskState]) -> None:
        """Say what is new in `states`."""
        for state in states:
            if state.state in ("done", "failed") and state.name not in self.ended:
                self.ended.add(state.name)
                if has_a_line(state):
                    self.say(ending(state))
        if time.monotonic() - self.spoken >= self.interval:
            self.spoken = time.monotonic()
            running = [
                f"{state.name} {share(state)} {left(state)}".strip() for state in states if state.state == "running"
            ]
            self.say(f"{self.title}: {counts(states)}. {'; '.join(running)}".rstrip(". "))


def counts(states: Sequence[TaskState]) -> str:
    """Return how many tasks are done, and how many run, wait and have failed."""
    numbers = {name: sum(state.state == name for state in states) for name in ("running", "waiting", "failed")}
    others = "".join(f", {number} {name}" for name, number in numbers.items() if number)
    return f"{sum(state.state == 'done' for state in states)} of {len(states)} done{others}"


def share(state: TaskState) -> str:
    """Return the share that is done in per cent, or the time so far if it is not known."""
    progress = state.progress
    return f"{100 * progress.done / progress.total:.0f} %" if progress.total else f"{duration(state.seconds)} so far"


def left(state: TaskState) -> str:
    """Return the time left; empty if it is not known."""
    progress = state.progress
    if not 0.02 * progress.total <= progress.done < progress.total:  # before, most of the time was the start
        return ""
    seconds = state.seconds - state.part_began
    return f"about {duration(seconds * (progress.total - progress.done) / progress.done)} left"


def has_a_line(state: TaskState) -> bool:
    """Return whether the end of a task is worth a line: a hundred short ones would hide what matters."""
    return state.state != "done" or state.seconds >= WORTH_A_LINE


def ending(state: TaskState) -> str:
    """Return a line on a task that has ended, or that is to be run again."""
    if state.state == "done":
        return f"{state.name}: done in {duration(state.seconds)}. {state.progress.message}".rstrip()
    return f"{state.name}: {'failed' if state.state == 'failed' else 'not finished'}"


def duration(seconds: float) -> str:
    """Return a time in seconds or minutes."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
