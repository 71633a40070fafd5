"""Compilation of networks by torch.compile, where it pays; without it they give the same up to rounding."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from elmlff_core.config import TrainingConfig
from elmlff_core.training.loss import Forward, Labelled, training_loss

# Atoms shown in a training: 0.2 ms are saved for each, and compilation takes about a minute (one core).
LONG_TRAINING = 2_000_000


def worth_compiling(network: Any, settings: TrainingConfig, n_shown: int) -> bool:
    """Whether to compile `network`, whose class says in ``compiles`` whether it gains by it.

    It does not depend on what was timed, so that a training that goes on does what the interrupted one did.
    """
    if settings.compile == "auto":
        return bool(getattr(network, "compiles", False)) and n_shown >= LONG_TRAINING
    return settings.compile


def compiled(
    network: nn.Module, sample: Labelled, settings: TrainingConfig, scale: float
) -> tuple[Forward | None, str]:
    """A faster form of `network` with the same weights, tried on `sample`, and what to say.

    None where there is no compiler, or another reason why it cannot be.
    """
    faster = torch.compile(network, dynamic=True)
    loggers = [logging.getLogger(name) for name in ("torch._dynamo", "torch._inductor", "torch.utils.cpp_extension")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)  # advice to those who write networks
    try:
        training_loss(network, sample, settings, scale, faster)[0].backward()
    except Exception as error:  # compilers, and what stands between, fail in many ways
        return None, f"not compiled: {str(error).strip().partition(chr(10))[0] or type(error).__name__}"
    finally:
        network.zero_grad()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    # Not the module: as a part of another one it would own the weights twice.
    return lambda batch: faster(batch), "compiled"
