"""Executors: objects with the interface of `concurrent.futures.Executor` that run fits.

This module imports neither NumPy nor torch, because a worker process sets its number of threads before loading them.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elmlff_core.errors import ConfigError, did_you_mean
from elmlff_core.resources import start_as_child

PROCESSES, SERIAL = "processes", "serial"
NAMES = (PROCESSES, SERIAL)


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

    def __init__(self, n_workers: int, n_threads: int) -> None:
        # Spawned and not forked, because a fork of a process with threads of torch may hang.
        context = multiprocessing.get_context("spawn")
        super().__init__(n_workers, context, initializer=start_as_child, initargs=(n_threads,))

    def kill(self) -> None:
        """End the processes at once; the next run resumes their fits from the last checkpoints."""
        for process in list((self._processes or {}).values()):
            process.kill()
        self.shutdown(wait=True)  # or their semaphores may outlive this process, and Python warns of them


@contextmanager
def opened(name: str, n_workers: int, n_threads: int) -> Iterator[Executor]:
    """Open an executor: ``processes``, ``serial``, or ``module:function``, a function that returns one.

    Parameters
    ----------
    name : name of the executor; modules are also searched for in the current folder
    n_workers, n_threads : number of worker processes, and threads of each; only for ``processes``

    Raises
    ------
    ConfigError
        There is no such executor.
    """
    executor = _make(name, n_workers, n_threads)
    try:
        yield executor
    except BaseException:
        if isinstance(executor, WorkerProcesses):
            executor.kill()
        else:
            executor.shutdown(wait=False)
        raise
    executor.shutdown(wait=True)


def check_executor(name: str) -> None:
    """Raise ConfigError if there is no executor `name`, before long calculations begin; it is not started."""
    if name not in NAMES:
        _function(name)


def _make(name: str, n_workers: int, n_threads: int) -> Executor:
    if name == SERIAL:
        return SerialExecutor()
    if name == PROCESSES:
        return WorkerProcesses(n_workers, n_threads)
    _add_programs_to_path()
    executor = _function(name)()
    if not callable(getattr(executor, "submit", None)):
        raise ConfigError(
            f"executor '{name}' returned {type(executor).__name__}, which has no method 'submit': "
            "return a concurrent.futures.Executor"
        )
    found: Executor = executor
    return found


def _add_programs_to_path() -> None:
    """Add the programs of this environment to PATH: cluster libraries need them even if it is not activated."""
    programs = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    if programs not in path.split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([programs, path])


def _function(name: str) -> Callable[[], Any]:
    module_name, colon, function_name = name.partition(":")
    if not colon:
        raise ConfigError(
            f"no executor is called '{name}'{did_you_mean(name, NAMES)}; name your own as 'module:function'"
        )
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # last: a file there must not stand in for a package
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot load executor '{name}': {error}") from error
    if not callable(function):
        raise ConfigError(f"executor '{name}' is not a function")
    found: Callable[[], Any] = function
    return found
