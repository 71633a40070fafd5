"""Concurrent predictions: base models in workers predict at the same time, as far as there are cores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from elmlff_core.base_models.named import NamedModel
from elmlff_core.contracts.progress import Progress, ProgressCallback
from elmlff_core.resources import n_cores, threads_for


def n_at_once(models: Sequence[NamedModel]) -> int:
    """Return how many of `models` can predict at the same time without using more threads than cores.

    Base models that are not in workers share this process, so they predict one after the other.
    """
    workers = sum(model.in_worker for model in models)
    possible = workers + (workers < len(models))
    threads = max((_threads(model) for model in models), default=1)
    return max(1, min(possible, n_cores() // threads)) if workers else 1


def for_each_model[Result](
    models: Sequence[NamedModel], work: Callable[[NamedModel], Result], on_failure: Callable[[], None] = lambda: None
) -> dict[str, Result]:
    """Call `work` for each model and return the results by name, in the order of `models`.

    Base models in workers are handled in threads, `n_at_once` at the same time; the others in the calling thread.  If
    anything fails or the user interrupts, `on_failure` is called, the workers that are still busy are ended, and the
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
    """The task is cancelled, because another task failed or the user interrupted the run."""


class JointProgress:
    """Joint progress of several tasks of equal length that run at the same time; it can also cancel them.

    Parameters
    ----------
    progress : called with the summed progress
    n_tasks : number of tasks
    """

    def __init__(self, progress: ProgressCallback, n_tasks: int) -> None:
        self._progress = progress
        self._n_tasks = n_tasks
        self._done: dict[str, int] = {}
        self._cancelled = False
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Make every task raise CancelledError when it next reports progress."""
        self._cancelled = True

    def of(self, task: str) -> ProgressCallback:
        """Return the progress callback of one task."""

        def update(step: Progress) -> None:
            if self._cancelled:
                raise CancelledError
            with self._lock:
                self._done[task] = step.done
                self._progress(Progress(sum(self._done.values()), self._n_tasks * step.total))

        return update


def _threads(model: NamedModel) -> int:
    """Return the threads of a base model: its own setting, else the setting of this process, else all cores."""
    if model.in_worker and model.config.threads is not None:
        return model.config.threads
    return threads_for(1)
