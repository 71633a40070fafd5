"""Compilation of networks by torch.compile where it saves time; results are the same up to rounding."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from elmlff_core.graphs.batch import GraphBatch
from elmlff_core.graphs.network import Network
from elmlff_core.meta.training.loss import Forward, Labelled, training_loss
from elmlff_core.settings.config import TrainingConfig

# Compilation takes a minute and saves 0.05 to 0.2 ms per atom shown (benchmarks/compilation.py).  With this many atoms
# shown in a training it saves more time than it costs.
LONG_TRAINING = 4_000_000


def worth_compiling(network: Network, settings: TrainingConfig, n_atoms: np.ndarray) -> bool:
    """Return whether to compile `network`; its attribute ``compiles`` gives whether compilation makes it faster.

    Compilation does not help if structures have many sizes, because code for arrays of any size is slow.  The decision
    depends only on the settings and on `n_atoms` (n_structures,) of the training structures, and not on timings, so a
    resumed training decides as the interrupted one did.
    """
    if settings.compile != "auto":
        return settings.compile
    long = (settings.epochs or 0) * n_atoms.sum() >= LONG_TRAINING
    return bool(network.compiles and long and np.ptp(n_atoms) == 0)


def compiled(
    network: Network, samples: Sequence[Labelled], settings: TrainingConfig, scale: float
) -> tuple[Forward | None, str]:
    """Compile `network`, and return the compiled function, which shares its weights, and a message for the user.

    The function is None if there is no compiler or compilation fails for another reason.

    Parameters
    ----------
    network : network, on the device of its training
    samples : batches on that device, for trial runs; sizes that differ between them, as the number of edges, may vary
        later
    settings : training settings, for the loss
    scale : scale of the loss, eV/Å
    """
    faster = torch.compile(network)
    size = len(samples[0].graphs.n_atoms)
    loggers = [logging.getLogger(name) for name in ("torch._dynamo", "torch._inductor", "torch.utils.cpp_extension")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)  # their warnings are for authors of networks
    try:
        for sample in samples:
            training_loss(network, sample, settings, scale, faster)[0].backward()
    except Exception as error:  # compilers and their tools raise many kinds of exceptions
        return None, f"not compiled: {str(error).strip().partition(chr(10))[0] or type(error).__name__}"
    finally:
        network.zero_grad()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

    def forward(batch: GraphBatch) -> torch.Tensor:
        # The last batch of an epoch is smaller, and would be compiled again for its size.
        return torch.as_tensor(faster(batch) if len(batch.n_atoms) == size else network(batch))

    return forward, "compiled"
