"""Executors: where fits run; anything with the interface of `concurrent.futures.Executor`.

Nothing heavy is imported here: a worker process sets its number of threads before NumPy and torch are loaded.
"""

from __future__ import annotations

import importlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elmlff_core.errors import ConfigError, did_you_mean

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PROCESSES, SERIAL = "processes", "serial"
NAMES = (PROCESSES, SERIAL)


class SerialExecutor(Executor):
    """Does each task when it is submitted, in this process."""

    def submit[Result](self, function: Callable[..., Result], /, *arguments: Any, **keywords: Any) -> Future[Result]:
        """A future that is done; what is no `Exception`, as an interruption by the user, goes through."""
        future: Future[Result] = Future()
        try:
            future.set_result(function(*arguments, **keywords))
        except Exception as error:
            future.set_exception(error)
        return future


class WorkerProcesses(ProcessPoolExecutor):
    """Processes of this machine that end with the one that started them, however that ends."""

    def __init__(self, n_workers: int, n_threads: int) -> None:
        # Spawned, not forked: a fork of a process that has torch's threads may hang.
        context = multiprocessing.get_context("spawn")
        super().__init__(n_workers, context, initializer=_start_worker, initargs=(n_threads,))

    def kill(self) -> None:
        """End them now: a fit goes on from its last checkpoint another time."""
        for process in list((self._processes or {}).values()):
            process.kill()


def _start_worker(n_threads: int) -> None:
    for name in THREAD_VARIABLES:
        os.environ[name] = str(n_threads)
    # Ctrl-C, and a queue's SIGTERM, go to all processes; the first one ends the others.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed sweep leaves no worker behind that would go on with a fit and hold its folder."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


@contextmanager
def opened(name: str, n_workers: int, n_threads: int) -> Iterator[Executor]:
    """The executor called `name`: ``processes``, ``serial``, or ``module:function`` which returns one.

    Parameters
    ----------
    name : modules are looked for in the current folder too
    n_workers, n_threads : of ``processes`` alone

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
        executor.shutdown(wait=False)
        raise
    executor.shutdown(wait=True)


def check_executor(name: str) -> None:
    """ConfigError where `name` is none, before anything long begins; a named function is not called."""
    if name not in NAMES:
        _function(name)


def _make(name: str, n_workers: int, n_threads: int) -> Executor:
    if name == SERIAL:
        return SerialExecutor()
    if name == PROCESSES:
        return WorkerProcesses(n_workers, n_threads)
    _find_own_programs()
    executor = _function(name)()
    if not callable(getattr(executor, "submit", None)):
        raise ConfigError(
            f"executor '{name}' returned {type(executor).__name__}, which has no method 'submit': "
            "return a concurrent.futures.Executor"
        )
    found: Executor = executor
    return found


def _find_own_programs() -> None:
    """Cluster libraries start programs of theirs by name: those of this environment, also where it is not activated."""
    programs = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    if programs not in path.split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([programs, path])


def _function(name: str) -> Callable[[], Any]:
    module_name, colon, function_name = name.partition(":")
    if not colon:
        raise ConfigError(
            f"no executor is called '{name}'{did_you_mean(name, NAMES)}; one of your own is 'module:function'"
        )
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # last: a file there must not stand in for a package
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot load executor '{name}': {error}") from error
    if not callable(function):
        raise ConfigError(f"executor '{name}' is no function")
    found: Callable[[], Any] = function
    return found
