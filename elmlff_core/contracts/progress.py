"""How far long work is, and how a run tells it: silent here, on screen in the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a long piece of work is: `done` of `total` units, and a short figure to show beside it."""

    done: int
    total: int
    message: str = ""


ProgressCallback = Callable[[Progress], None]


class Reporter:
    """Says nothing: what the Python API uses unless given another."""

    def say(self, text: str) -> None:
        """A line for the user."""

    def warn(self, text: str) -> None:
        """A line the user should not miss."""

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCallback]:
        """Show a long piece of work; the callback takes `Progress`."""

        def ignore(_: Progress) -> None: ...

        yield ignore
