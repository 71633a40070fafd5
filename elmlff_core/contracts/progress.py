"""Progress of long computations, and how it is reported: silently by default, on screen in the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Progress:
    """Progress of a long computation: `done` of `total` units, and a short text to show beside it."""

    done: int
    total: int
    message: str = ""


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True)
class TaskState:
    """How far one of several tasks is.

    Attributes
    ----------
    name : its name
    state : ``waiting`` also means that it is submitted and no worker has begun it
    progress : its progress
    where : machine and process that run it
    seconds : time since it began
    part_began : seconds after which its present part began; the progress of each part begins at zero again
    """

    name: str
    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    progress: Progress = Progress(0, 0)
    where: str = ""
    seconds: float = 0.0
    part_began: float = 0.0

    def ended(self, state: Literal["done", "failed"]) -> TaskState:
        """Return the state at its end."""
        return replace(self, state=state)


TasksCallback = Callable[[Sequence[TaskState]], None]


class Reporter:
    """A reporter that shows nothing; the Python API uses it unless another one is given."""

    def say(self, text: str) -> None:
        """Show one line of information."""

    def warn(self, text: str) -> None:
        """Show one line of warning."""

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCallback]:
        """Show the progress of a long computation; the callback takes a `Progress`."""

        def ignore(_: Progress) -> None: ...

        yield ignore

    @contextmanager
    def tasks(self, title: str) -> Iterator[TasksCallback]:
        """Show the progress of tasks that run at the same time; the callback takes the states of all."""

        def ignore(_: Sequence[TaskState]) -> None: ...

        yield ignore
