"""An executor of two worker processes that begin their first tasks together: the order of tasks is then known."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier

from elmlff_core.execution.spawning import Spawning


def _wait(both: Barrier) -> None:
    import torch  # noqa: F401  # takes long, and at different speeds

    both.wait(timeout=300)


def executor() -> ProcessPoolExecutor:
    """Return the executor; it is for two tasks at least."""
    context = Spawning()
    return ProcessPoolExecutor(2, context, initializer=_wait, initargs=(context.Barrier(2),))
