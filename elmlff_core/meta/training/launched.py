"""Trainings that the processes of a launch share (`elmlff_core.execution.launch`).

The first process runs the command, and tells the others of each training on several devices: through a store, to which
all are connected.  They read the graphs from a file in the folder of the training, which all machines must see.
"""

from __future__ import annotations

import itertools
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from elmlff_core.errors import ElmlffError
from elmlff_core.execution.launch import Launch
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.meta.training.group import GRAPHS_FILE, joined, read_graphs, written
from elmlff_core.meta.training.rank import Rank
from elmlff_core.resources import keep_freed_memory

TIME_TO_MEET = timedelta(minutes=10)
TIME_TO_END = timedelta(seconds=20)
LONGEST_COMMAND = timedelta(days=100)


@dataclass(frozen=True)
class Meeting:
    """The store of a launch, and the numbers of the trainings in it."""

    launch: Launch
    store: distributed.Store
    numbers: Iterator[int]

    @classmethod
    def of(cls, launch: Launch) -> Meeting:
        """Connect this process with the others, which all call this; the process ends if they do not meet."""
        hosts, where = launch.rank == 0 and not launch.has_host, (launch.address, launch.port)
        try:
            store = distributed.TCPStore(*where, launch.n, is_master=hosts, timeout=TIME_TO_MEET)
        except RuntimeError as error:
            raise SystemExit(
                f"elmlff: {launch.n} processes were started but cannot meet at {where}: {error}"
            ) from error
        store.set_timeout(LONGEST_COMMAND)
        return cls(launch, distributed.PrefixStore("elmlff", store), itertools.count())

    def tell(self, number: int, what: tuple[Any, ...] | None) -> None:
        """Tell the other processes of a training, or by None that there is none any more."""
        self.store.set(_training(number), pickle.dumps(what))  # type: ignore[arg-type]  # it takes bytes as well

    def rank(self, on_gpus: bool) -> Rank:
        """Return the rank of this process in a training."""
        # Where srun gives each process one GPU, that is the only one which it sees.
        device = self.launch.local % torch.cuda.device_count() if on_gpus else 0
        return Rank(self.launch.rank, self.launch.n, device)

    def group(self, number: int) -> distributed.Store:
        """Return the store for the process group of a training."""
        return distributed.PrefixStore(f"group-{number}", self.store)


_meeting: Meeting | None = None


def meeting() -> Meeting | None:
    """Return the meeting of the launch of which this process is the first; None if it was started alone."""
    return _meeting


@contextmanager
def met(launch: Launch) -> Iterator[None]:
    """Meet the other processes as the first one; at the end of the block they are told to end."""
    global _meeting
    _meeting = Meeting.of(launch)
    try:
        yield
    finally:
        with suppress(RuntimeError):  # as if the launcher has ended before; where it listens itself, they must read it
            _meeting.tell(next(_meeting.numbers), None)
            _meeting.store.wait([f"ended-{rank}" for rank in range(1, launch.n)], TIME_TO_END)
        _meeting = None


def take_part(launch: Launch) -> None:
    """Take part in the trainings of the first process, until its command ends."""
    for name in (signal.SIGINT, signal.SIGTERM):  # at once: it has no results of its own
        signal.signal(name, signal.SIG_DFL)
    torch.set_num_threads(launch.n_threads)
    keep_freed_memory()
    found = Meeting.of(launch)
    for number in found.numbers:
        told = pickle.loads(found.store.get(_training(number)))
        if told is None:
            break
        work, graphs, on_gpus, job = told
        rank = found.rank(on_gpus)
        try:
            read = read_graphs(graphs)
            with joined(rank, on_gpus, found.group(number), one_machine=False):
                work(pickle.loads(job), read, rank)
        except Exception as error:  # the first process says so, or it was interrupted
            found.store.set(_failure(number, launch.rank), f"{type(error).__name__}: {error}")
    found.store.set(f"ended-{launch.rank}", "")


@contextmanager
def sharing_with_launched(
    found: Meeting, on_gpus: bool, directory: Path, work: Callable[..., None], job: Any, graphs: Sequence[GraphDataset]
) -> Iterator[Rank]:
    """Let the other processes of the launch call `work`, and yield the rank of this one."""
    number, rank, threads = next(found.numbers), found.rank(on_gpus), torch.get_num_threads()
    with written(graphs, directory / GRAPHS_FILE) as path:
        found.tell(number, (work, path.absolute(), on_gpus, pickle.dumps(job)))
        torch.set_num_threads(found.launch.n_threads)
        try:
            with joined(rank, on_gpus, found.group(number), one_machine=False):
                yield rank
        except RuntimeError as error:  # as those of communication are
            if failure := _failure_of_others(found, number):
                raise failure from error
            raise
        finally:
            torch.set_num_threads(threads)


def _failure_of_others(found: Meeting, number: int) -> ElmlffError | None:
    for rank in range(1, found.launch.n):
        key = _failure(number, rank)
        if found.store.check([key]):
            return ElmlffError(f"process {rank + 1} of the training failed: {found.store.get(key).decode()}")
    return None


def _training(number: int) -> str:
    return f"training-{number}"


def _failure(number: int, rank: int) -> str:
    return f"failure-{number}-{rank}"
