"""The other processes of a training on several devices: started by the first process, and ended with it.

The process that was asked for a training takes part in it, on the first device.  For each further device it spawns one
that does nothing else, on the same machine.  So only the training is shared: a command runs once, as it was typed, and
its results are in its own process.  Where torchrun or srun has started the processes of a command, those take part.

The graphs reach the others through a file that they map into memory, so that large ones are there once.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import pickle
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from elmlff_core.errors import ConfigError, ElmlffError
from elmlff_core.execution.spawning import Spawning
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.meta.training.device import runs_on_gpus
from elmlff_core.meta.training.group import GRAPHS_FILE, joined, read_graphs, written
from elmlff_core.meta.training.launched import meeting, sharing_with_launched
from elmlff_core.meta.training.rank import Rank
from elmlff_core.resources import keep_freed_memory, start_as_child, threads_for
from elmlff_core.settings.config import TrainingConfig

type Work = Callable[[Any, Sequence[GraphDataset], Rank], None]

HOST = "127.0.0.1"
# After a failure of communication, the process that caused it has ended, or is about to.
SECONDS_TO_END = 2.0


@contextmanager
def sharing(
    settings: TrainingConfig, directory: Path, work: Work, job: Any, graphs: Sequence[GraphDataset]
) -> Iterator[Rank]:
    """Start the other processes of a training and yield the rank of this one; at the end of the block they are ended.

    Parameters
    ----------
    settings : on how many devices, and on which
    directory : for the file of the graphs, which is gone once they are read
    work : what each of them calls, with `job`, `graphs` and its rank; a function of a module
    job : is pickled for them
    graphs : are written to a file for them

    Raises
    ------
    ConfigError
        The training runs where no process can be started, or beside another one on several devices.
    ElmlffError
        One of the processes has failed or was ended; the message says why.
    """
    if settings.devices == 1:
        yield Rank()
        return
    if (found := meeting()) is not None:
        with sharing_with_launched(found, runs_on_gpus(settings), directory, work, job, graphs) as rank:
            yield rank
        return
    _check_processes(settings.devices)
    threads, n_threads = torch.get_num_threads(), threads_for(settings.devices)
    listener = socket.create_server((HOST, 0))
    group = _Group(settings.devices, runs_on_gpus(settings), listener.getsockname()[1])
    helpers: list[_Helper] = []
    try:
        store = distributed.TCPStore(
            HOST, group.port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
        )
        with written(graphs, directory / GRAPHS_FILE) as path:
            pickled = pickle.dumps(job)
            for number in range(1, settings.devices):
                helpers.append(_Helper.start(work, path, group, number, n_threads))
            for helper in helpers:
                helper.give(pickled)
        torch.set_num_threads(n_threads)
        try:
            rank = Rank(0, settings.devices)
            with joined(rank, group.on_gpus, store, one_machine=True):
                yield rank
        except RuntimeError as error:  # as those of communication are
            if failure := _failure_among(helpers):
                raise failure from error
            raise
    finally:
        torch.set_num_threads(threads)
        for helper in helpers:  # at once: they have no results of their own
            helper.process.kill()
        for helper in helpers:
            helper.process.join()
            helper.connection.close()


@dataclass(frozen=True)
class _Group:
    """The processes of a training, which meet at a port of this machine."""

    n: int
    on_gpus: bool
    port: int


@dataclass(frozen=True)
class _Helper:
    """One of the other processes, and the connection on which it gets the job and says why it has failed."""

    number: int
    process: multiprocessing.process.BaseProcess
    connection: Connection

    @classmethod
    def start(cls, work: Work, graphs: Path, group: _Group, number: int, n_threads: int) -> _Helper:
        context = Spawning()
        own, others = context.Pipe()
        process = context.Process(target=_help, args=(work, graphs, group, number, n_threads, others), daemon=True)
        with _signals_blocked():
            process.start()
        others.close()
        return cls(number, process, own)

    def give(self, job: bytes) -> None:
        """Wait until it has read the graphs, and send it `job`; raise ElmlffError if it fails or ends before."""
        # The job is not an argument of the process, or this one could not be interrupted while that one starts.
        multiprocessing.connection.wait([self.connection, self.process.sentinel])
        if failure := self.failure():
            raise failure
        self.connection.send_bytes(job)

    def failure(self) -> ElmlffError | None:
        """Return why the process has failed, or None if it has not."""
        name = f"process {self.number + 1} of the training"
        try:
            if self.connection.poll():
                reason = self.connection.recv()
                return None if reason is None else ElmlffError(f"{name} failed: {reason}")
            if not multiprocessing.connection.wait([self.process.sentinel], timeout=0):
                return None
        except (EOFError, ConnectionResetError):
            pass
        self.process.join()  # it has ended without a word, or is about to
        assert self.process.exitcode is not None
        if self.process.exitcode > 0:
            return ElmlffError(f"{name} could not start, see above")
        return ElmlffError(
            f"{name} was ended by {signal.Signals(-self.process.exitcode).name}, perhaps for lack of memory; "
            "run the same again to resume, on fewer devices or with a smaller batch_size"
        )


def _help(work: Work, graphs: Path, group: _Group, number: int, n_threads: int, connection: Connection) -> None:
    """Take part in the training, as process `number`."""
    start_as_child(n_threads)
    torch.set_num_threads(n_threads)  # torch is imported already, so that it does not look at the environment
    keep_freed_memory()
    try:
        read = read_graphs(graphs)
        connection.send(None)
        job = pickle.loads(connection.recv_bytes())
        rank, store = Rank(number, group.n, number), distributed.TCPStore(HOST, group.port, is_master=False)
        with joined(rank, group.on_gpus, store, one_machine=True):
            work(job, read, rank)
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")


def _failure_among(helpers: Sequence[_Helper]) -> ElmlffError | None:
    """Return why one of the processes has failed, which is why the others could not go on; None if none has."""
    ends = [end for helper in helpers for end in (helper.connection, helper.process.sentinel)]
    multiprocessing.connection.wait(ends, SECONDS_TO_END)
    return next((failure for helper in helpers if (failure := helper.failure())), None)


def _check_processes(n: int) -> None:
    if multiprocessing.current_process().daemon:
        raise ConfigError(
            f"'training.devices' is {n}, but this training is in a daemonic process, as those of multiprocessing.Pool "
            "are, which may not start others: take 1, or an executor whose workers may"
        )
    if distributed.is_initialized():
        raise ConfigError(
            f"'training.devices' is {n}, but this process is in a process group of torch.distributed already: take 1, "
            "or start the command line by torchrun"
        )


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Let a process that is started here never see Ctrl-C and SIGTERM, which may go to all processes of a command."""
    multiprocessing.resource_tracker.ensure_running()  # when it starts, it unblocks these signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
