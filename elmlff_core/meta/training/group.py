"""The process group of a training, and the file by which its processes get the graphs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from elmlff_core.errors import ElmlffError
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.meta.training.rank import Rank

LOOPBACK = {"linux": "lo", "darwin": "lo0"}  # names of the network interface of 127.0.0.1
GRAPHS_FILE = "graphs.pt"
# A process waits that long for the others: the first one may be writing a checkpoint to a slow disk.
LONGEST_WAIT = timedelta(minutes=30)


@contextmanager
def joined(rank: Rank, on_gpus: bool, store: distributed.Store, one_machine: bool) -> Iterator[None]:
    """Join the process group whose processes meet in `store`, and leave it at the end of the block."""
    device = torch.device("cuda", rank.device) if on_gpus else None
    hook = sys.excepthook  # torch puts one in its place, for good
    with _loopback() if one_machine else nullcontext():
        distributed.init_process_group(
            "nccl" if on_gpus else "gloo", store=store, rank=rank.number, world_size=rank.n, timeout=LONGEST_WAIT,
            device_id=device,
        )  # fmt: skip
    try:
        yield
    finally:
        distributed.destroy_process_group()
        sys.excepthook = hook


@contextmanager
def _loopback() -> Iterator[None]:
    """Let processes find each other by the loopback interface, unless the user has chosen one: no other machine can."""
    name, interface = "GLOO_SOCKET_IFNAME", LOOPBACK.get(sys.platform)
    ours = interface is not None and name not in os.environ
    if interface is not None and ours:
        os.environ[name] = interface
    try:
        yield
    finally:
        if ours:
            os.environ.pop(name, None)


@contextmanager
def written(graphs: Sequence[GraphDataset], path: Path) -> Iterator[Path]:
    """Write `graphs` to a file that is removed at the end of the block; ElmlffError if it cannot be written."""
    tensors = [{field.name: getattr(one, field.name) for field in fields(one)} for one in graphs]
    try:
        try:
            torch.save(tensors, path)  # arrays in files are written piece by piece, never read as a whole
        except (OSError, RuntimeError) as error:  # on a full disk torch raises an error that does not say so
            raise ElmlffError(f"cannot write {path}, perhaps for lack of space: {error}") from error
        yield path
    finally:
        path.unlink(missing_ok=True)


def read_graphs(path: Path) -> list[GraphDataset]:
    """Return the graphs in a file, which are mapped into memory."""
    return [GraphDataset(**tensors) for tensors in torch.load(path, mmap=True, weights_only=True)]
