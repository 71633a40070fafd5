"""Executors: objects with the interface of `concurrent.futures.Executor` that run long steps.

This module imports neither NumPy nor torch, because a worker process sets its number of threads before loading them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from elmlff_core.errors import ConfigError, did_you_mean
from elmlff_core.execution.clusters import (
    NEEDED,
    add_programs_to_path,
    check_cluster,
    cluster,
    is_parsl_config,
    parsl_executor,
)
from elmlff_core.execution.placement import NAMES, PROCESSES, SERIAL, Placement
from elmlff_core.execution.spawning import Spawning
from elmlff_core.plugins.callables import named_callable
from elmlff_core.resources import gpus, keep_freed_memory, start_as_child

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized


class SerialExecutor(Executor):
    """Executor that runs each task in this process when it is submitted."""

    def submit[Result](self, function: Callable[..., Result], /, *arguments: Any, **keywords: Any) -> Future[Result]:
        """Run the task and return a finished future; exceptions such as KeyboardInterrupt are raised at once."""
        future: Future[Result] = Future()
        try:
            future.set_result(function(*arguments, **keywords))
        except Exception as error:
            future.set_exception(error)
        return future


class WorkerProcesses(ProcessPoolExecutor):
    """Worker processes on this machine that end with their parent process, even if it is killed."""

    def __init__(self, n_workers: int, n_threads: int, n_devices: int) -> None:
        context, found = Spawning(), gpus()
        shares = [",".join(found[first : first + n_devices]) for first in range(0, len(found), n_devices)]
        self.n_started = context.Value("i", 0)
        super().__init__(n_workers, context, initializer=_start_worker, initargs=(n_threads, shares, self.n_started))

    def kill(self) -> None:
        """End the processes at once; the next run resumes their tasks from the last checkpoints."""
        for process in list((self._processes or {}).values()):
            process.kill()
        self.shutdown(wait=True)  # or their semaphores may outlive this process, and Python warns of them


def _start_worker(n_threads: int, shares: Sequence[str], n_started: Synchronized[int]) -> None:
    with n_started.get_lock():
        number = n_started.value
        n_started.value += 1
    if shares:  # workers have the same GPUs only if the user asks for more workers than there are GPUs
        os.environ["CUDA_VISIBLE_DEVICES"] = shares[number % len(shares)]
    start_as_child(n_threads)
    keep_freed_memory()


@contextmanager
def opened(placement: Placement, n_workers: int, n_threads: int, n_devices: int = 1) -> Iterator[Executor]:
    """Open the executor of a placement, and end its workers at the end of the block; at an error without waiting.

    Parameters
    ----------
    placement : names the executor; modules of the user are also searched for in the current folder
    n_workers, n_threads : number of worker processes, and threads of each; a function of the user decides by itself
    n_devices : number of GPUs, where there are any, of each process on this machine

    Raises
    ------
    ConfigError
        There is no such executor, or it cannot be opened here; the message says what to do.
    """
    if placement.executor in NEEDED:
        with cluster(placement, n_workers, n_threads) as executor:
            yield executor
        return
    made = _make(placement.executor, n_workers, n_threads, n_devices)
    if is_parsl_config(made):
        with parsl_executor(made) as executor:
            yield executor
        return
    try:
        yield made
    except BaseException:
        if isinstance(made, WorkerProcesses):
            made.kill()
        else:
            made.shutdown(wait=False)
        raise
    made.shutdown(wait=True)


def check_executor(placement: Placement) -> None:
    """Raise ConfigError if the executor cannot be opened, before long calculations begin; nothing is started."""
    if placement.executor in NEEDED:
        check_cluster(placement)
    elif placement.executor not in (PROCESSES, SERIAL):
        _function(placement.executor)


def _make(name: str, n_workers: int, n_threads: int, n_devices: int) -> Any:
    """Return the executor called `name`, or the `parsl.Config` that the function of the user returned."""
    if name == SERIAL:
        return SerialExecutor()
    if name == PROCESSES:
        return WorkerProcesses(n_workers, n_threads, n_devices)
    add_programs_to_path()
    made = _function(name)()
    if not is_parsl_config(made) and not callable(getattr(made, "submit", None)):
        raise ConfigError(
            f"executor '{name}' returned {type(made).__name__}, which has no method 'submit': "
            "return a concurrent.futures.Executor or a parsl.Config"
        )
    return made


def _function(name: str) -> Callable[[], Any]:
    if ":" not in name:
        raise ConfigError(
            f"no executor is called '{name}'{did_you_mean(name, NAMES)}; name your own as 'module:function'"
        )
    return named_callable(name, "executor")
