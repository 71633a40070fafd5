"""Bases in workers predict at the same time, on as many cores as there are."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from elmlff_core.base_models.named import NamedModel
from elmlff_core.contracts.progress import Progress, ProgressCallback
from elmlff_core.resources import n_cores


def n_at_once(models: Sequence[NamedModel]) -> int:
    """How many of `models` can predict at the same time without more threads than cores.

    Bases that are not in workers share this process, and go one after the other.
    """
    workers = sum(model.in_worker for model in models)
    possible = workers + (workers < len(models))
    threads = max((_threads(model) for model in models), default=1)
    return max(1, min(possible, n_cores() // threads)) if workers else 1


def for_each_model[Result](
    models: Sequence[NamedModel], work: Callable[[NamedModel], Result], on_failure: Callable[[], None] = lambda: None
) -> dict[str, Result]:
    """What `work` gives for each model, by name and in the order of `models`.

    Work for bases in workers is done in threads, `n_at_once` together; for the others, in the calling thread.  Where
    anything fails or the user interrupts, `on_failure` is called, the workers still at work are ended, and the
    exception is raised.
    """
    at_once = n_at_once(models)
    if at_once < 2:
        return {model.name: work(model) for model in models}
    others = [model for model in models if not model.in_worker]
    with ThreadPoolExecutor(at_once - bool(others), thread_name_prefix="elmlff-worker") as pool:
        futures = {model.name: pool.submit(work, model) for model in models if model.in_worker}
        try:
            done = {model.name: work(model) for model in others}
            wait(futures.values(), return_when=FIRST_EXCEPTION)
            failed = [future for future in futures.values() if future.done() and future.exception()]
            done |= {name: future.result() for name, future in futures.items() if not failed or future in failed}
        except BaseException:
            on_failure()
            for model in models:
                if model.in_worker and not futures[model.name].cancel() and not futures[model.name].done():
                    model.close()
            raise
    return {model.name: done[model.name] for model in models}


class CancelledError(Exception):
    """Another of the tasks that run at once has failed, or the user interrupts them."""


class JointProgress:
    """One progress of several tasks of the same length that run at once, and their end once one of them has failed.

    Parameters
    ----------
    progress : is told of the sum
    n_tasks : how many there are
    """

    def __init__(self, progress: ProgressCallback, n_tasks: int) -> None:
        self._progress = progress
        self._n_tasks = n_tasks
        self._done: dict[str, int] = {}
        self._cancelled = False
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Have every task end with CancelledError when it next reports."""
        self._cancelled = True

    def of(self, task: str) -> ProgressCallback:
        """The callback of one task."""

        def update(step: Progress) -> None:
            if self._cancelled:
                raise CancelledError
            with self._lock:
                self._done[task] = step.done
                self._progress(Progress(sum(self._done.values()), self._n_tasks * step.total))

        return update


def _threads(model: NamedModel) -> int:
    """Threads that a base computes with: its own setting, else what this process is set to, else all cores."""
    if model.in_worker and model.config.threads is not None:
        return model.config.threads
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(given) if given.isdecimal() and int(given) > 0 else n_cores()
