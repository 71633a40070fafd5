"""Reporter: how a run tells what it is doing; silent here, on screen in the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from elmlff_core.protocols import Progress, ProgressCallback


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
