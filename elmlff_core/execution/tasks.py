"""Tasks: pieces of long work that any executor runs, as soon as what they wait for is done.

A task leaves its results in files, so that the same command, run again, does only what is left.  A task that fails does
not end the others, except those that wait for it.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from elmlff_core.contracts.progress import Progress, Reporter, TaskState
from elmlff_core.errors import ElmlffError
from elmlff_core.execution.executors import opened
from elmlff_core.execution.placement import Placement
from elmlff_core.execution.task_files import TaskFiles, TaskReporter

WORKER_ENDED = "its worker was ended, perhaps for lack of memory; take fewer --workers"
POLL = 0.5  # s between two looks at the status of running tasks


class Work(Protocol):
    """What a task does; it is pickled, so it holds names, numbers and paths."""

    def __call__(self, reporter: Reporter) -> object:
        """Do it, or finish what an earlier run has begun; exceptions are failures of the task."""
        ...


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes
    ----------
    name : name in messages, and of its log
    work : what is to be done
    after : names of the tasks that it waits for; names of no task are those of tasks that were done before
    """

    name: str
    work: Work
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Order:
    """What a worker is told: a task, the folder of logs, and that of the command, as paths may be relative to it."""

    task: Task
    folder: Path
    logs: Path
    submitted_by: int = field(default_factory=os.getpid)

    def run(self) -> str | None:
        """Return None, or what went wrong: not every exception can be sent from process to process."""
        files = TaskFiles(self.logs, self.task.name)
        reporter = TaskReporter(files)
        try:
            if Path.cwd() != self.folder:
                os.chdir(self.folder)
            with self._output(files):
                self.task.work(reporter)
        except Exception as error:
            return reporter.failed(error)
        return None

    @contextmanager
    def _output(self, files: TaskFiles) -> Iterator[None]:
        """Send what backends print to the log, unless the task runs in the process that shows how far all are."""
        if os.getpid() == self.submitted_by:
            yield
            return
        with files.log.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
            yield


def run_tasks(
    tasks: Sequence[Task],
    placement: Placement,
    logs: Path,
    title: str,
    reporter: Reporter,
    n_all: int = 0,
    devices: int = 1,
) -> None:
    """Run all tasks; one that fails does not end the others.

    Parameters
    ----------
    tasks : tasks with different names
    placement : where they run; workers see the folders of this process under the same paths
    logs : folder for their logs
    title : what they are together
    reporter : shows how far they are
    n_all : number of these tasks and those that were done before; the cores are shared out among as many, because the
        number of threads changes the last digits of results
    devices : number of GPUs, or of processes, of each task

    Raises
    ------
    ElmlffError
        Tasks failed, or a worker was ended; the message has their names.
    """
    n_workers = placement.n_workers(max(width(tasks), n_all), devices)
    with opened(placement, n_workers, placement.n_threads(n_workers * devices), devices) as executor:
        _Run(tasks, executor, logs.absolute(), reporter).all(title)


def width(tasks: Sequence[Task]) -> int:
    """Return how many of `tasks` workers can do at the same time: the most that wait for equally long chains."""
    known, levels = {task.name: task for task in tasks}, dict[str, int]()

    def level(task: Task) -> int:
        if task.name not in levels:
            levels[task.name] = 1 + max((level(known[name]) for name in task.after if name in known), default=0)
        return levels[task.name]

    return max(Counter(map(level, tasks)).values(), default=0)


class _Run:
    """Tasks on their way: those that wait, run, are done and have failed."""

    def __init__(self, tasks: Sequence[Task], executor: Executor, logs: Path, reporter: Reporter) -> None:
        self.executor, self.logs, self.reporter = executor, logs, reporter
        self.waiting = {task.name: task for task in tasks}
        self.running: dict[Future[str | None], Task] = {}
        self.states = {task.name: TaskState(task.name) for task in tasks}
        self.failures: dict[str, str] = {}
        logs.mkdir(parents=True, exist_ok=True)
        for task in tasks:
            TaskFiles(logs, task.name).clear()

    def all(self, title: str) -> None:
        """Run them all, then raise ElmlffError if any failed."""
        with self.reporter.tasks(title) as show:
            looked = 0.0
            try:
                while self.waiting or self.running:
                    self._start()
                    done, _ = wait(self.running, timeout=POLL, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._end(future)
                    if time.monotonic() - looked >= POLL:  # not at each end: hundreds of tasks may be submitted
                        for task in self.running.values():
                            self._look_at(task)
                        looked = time.monotonic()
                    show(list(self.states.values()))
            except BaseException:
                for future in self.running:
                    future.cancel()
                raise
        if self.failures:
            raise ElmlffError(self._message())

    def _start(self) -> None:
        """Submit what waits for nothing more; drop what waits for a failure."""
        for task in list(self.waiting.values()):
            if any(name in self.failures for name in task.after):
                del self.waiting[task.name]
                self._fail(task, "")
            elif not any(self._is_on_its_way(name) for name in task.after):
                del self.waiting[task.name]
                try:
                    future = self.executor.submit(_Order.run, _Order(task, Path.cwd(), self.logs))
                except BrokenProcessPool:
                    self._fail(task, WORKER_ENDED)
                else:
                    self.running[future] = task

    def _is_on_its_way(self, name: str) -> bool:
        return name in self.waiting or any(task.name == name for task in self.running.values())

    def _end(self, future: Future[str | None]) -> None:
        task = self.running.pop(future)
        self._look_at(task)
        try:
            said = future.result()
        except (BrokenProcessPool, CancelledError):
            said = WORKER_ENDED
        except Exception as error:  # of the executor
            said = f"{type(error).__name__}: {error}"
        if said is None:
            self.states[task.name] = self.states[task.name].ended("done")
        else:
            self._fail(task, said)

    def _fail(self, task: Task, said: str) -> None:
        self.failures[task.name] = said
        self.states[task.name] = self.states[task.name].ended("failed")

    def _look_at(self, task: Task) -> None:
        status = TaskFiles(self.logs, task.name).status()
        if status is not None:
            progress = Progress(status["done"], status["total"], status["message"])
            seconds = max(0.0, time.time() - status["began"])
            before = self.states[task.name]
            part_began = seconds if progress.done < before.progress.done else before.part_began
            self.states[task.name] = TaskState(task.name, "running", progress, status["where"], seconds, part_began)

    def _message(self) -> str:
        """Name the tasks that failed, with what each said, and those that could not begin."""
        said = [f"{name} failed: {text}" for name, text in self.failures.items() if text]
        never = [name for name, text in self.failures.items() if not text]
        if never:
            said.append(f"{', '.join(never)} could not begin without {'it' if len(said) == 1 else 'them'}")
        return f"{'; '.join(said)}; the logs are in {self.logs}, and the same command goes on with what is left"
