"""Processes that do not run the script of the user again."""

from __future__ import annotations

import sys
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType


class _Worker(SpawnProcess):
    """A process that does not import the main script.

    By default a spawned process does, for functions that are defined there.  No work of elmlff is, and a script without
    ``if __name__ == "__main__"`` would start the whole workflow once more.
    """

    def start(self) -> None:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            super().start()
        finally:
            sys.modules["__main__"] = main

    def terminate(self) -> None:
        """End the process at once: workers ignore SIGTERM.

        An executor whose worker was killed ends the others so, and holds its lock until they have ended.
        """
        self.kill()


class Spawning(SpawnContext):
    """The context of `multiprocessing` with such processes.

    They are spawned and not forked, because a fork of a process with threads of torch may hang.
    """

    Process = _Worker
