"""Progress of long computations, and how it is reported: silently by default, on screen in the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Progress of a long computation: `done` of `total` units, and a short text to show beside it."""

    done: int
    total: int
    message: str = ""


ProgressCallback = Callable[[Progress], None]


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
