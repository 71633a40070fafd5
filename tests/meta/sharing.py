"""What the processes of a shared training do in tests; a module of its own, because a new process imports it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import torch

from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.meta.training.processes import sharing
from elmlff_core.meta.training.rank import Rank
from elmlff_core.settings.config import TrainingConfig

TWO = TrainingConfig(device="cpu", devices=2)


def fail(job: str, graphs: Sequence[GraphDataset], rank: Rank) -> None:
    """Fail with all that was given."""
    raise ValueError(f"{job}, {graphs[0].n_atoms.tolist()}, {rank}")


def add(job: int, graphs: Sequence[GraphDataset], rank: Rank) -> None:
    """Add up numbers with the other processes, `job` times."""
    for _ in range(job):
        rank.sum(torch.ones(1))


def share_and_die(folder: Path, graphs: GraphDataset) -> None:
    """Add up with another process, which is named in a file, and be killed."""
    with sharing(TWO, folder, add, 10**9, [graphs]) as rank:
        for _ in range(100):
            assert rank.sum(torch.ones(1)) == 2
        (folder / "other").write_text(str(multiprocessing.active_children()[0].pid))
        os.kill(os.getpid(), signal.SIGKILL)
