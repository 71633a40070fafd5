"""Compilation of networks by torch.compile, where it pays; without it they give the same up to rounding."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from elmlff_core.graphs.batch import GraphBatch
from elmlff_core.graphs.network import Network
from elmlff_core.meta.training.loss import Forward, Labelled, training_loss
from elmlff_core.settings.config import TrainingConfig

# Atoms shown in a training that win back the minute: 0.05 to 0.2 ms each (benchmarks/compilation.py).
LONG_TRAINING = 4_000_000


def worth_compiling(network: Network, settings: TrainingConfig, n_atoms: np.ndarray) -> bool:
    """Whether to compile `network`, whose class says in ``compiles`` whether it gains by it.

    Structures of many sizes gain nothing: what may have any size is hard to make fast.  It depends on the training
    structures, of `n_atoms` (n_structures,), and on nothing that was timed: a training that goes on does what the
    interrupted one did.
    """
    if settings.compile != "auto":
        return settings.compile
    long = (settings.epochs or 0) * n_atoms.sum() >= LONG_TRAINING
    return bool(network.compiles and long and np.ptp(n_atoms) == 0)


def compiled(
    network: Network, samples: Sequence[Labelled], settings: TrainingConfig, scale: float
) -> tuple[Forward | None, str]:
    """A faster form of `network` with the same weights, and what to say.

    None where there is no compiler, or another reason why it cannot be.

    Parameters
    ----------
    network : on the device of its training
    samples : batches there, to try it on; what differs between them, as the number of edges, is then free to vary
    settings, scale : of the loss
    """
    faster = torch.compile(network)
    size = len(samples[0].graphs.n_atoms)
    loggers = [logging.getLogger(name) for name in ("torch._dynamo", "torch._inductor", "torch.utils.cpp_extension")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)  # advice to those who write networks
    try:
        for sample in samples:
            training_loss(network, sample, settings, scale, faster)[0].backward()
    except Exception as error:  # compilers, and what stands between, fail in many ways
        return None, f"not compiled: {str(error).strip().partition(chr(10))[0] or type(error).__name__}"
    finally:
        network.zero_grad()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

    def forward(batch: GraphBatch) -> torch.Tensor:
        # The rest of an epoch would be compiled anew for its size.
        return torch.as_tensor(faster(batch) if len(batch.n_atoms) == size else network(batch))

    return forward, "compiled"
