"""Budgets of neural meta-models: the number of epochs of each budget for a given training set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elmlff_core.settings.config import LONG, Budget, TrainingConfig

QUICK_STEPS = 1200  # optimiser steps: about four minutes on 2 cores for molecules
QUICK_EPOCHS = (40, 600)  # at least, at most
# The paper trained 1500 epochs on methane (5 atoms) and 300 on methanol on Cu(100) (54 atoms).
PAPER_EPOCHS_SMALL, PAPER_EPOCHS_LARGE, PAPER_SMALL_ATOMS = 1500, 300, 20


def with_budget(
    training: TrainingConfig,
    budget: Budget,
    n_structures: int,
    max_atoms: int,
    defaults: Mapping[str, Any] | None = None,
) -> TrainingConfig:
    """Return `training` with missing values filled in: the `defaults` of the meta-model and the epochs of `budget`."""
    training = training.with_defaults(defaults or {})
    if training.epochs is not None:
        return training
    if budget == "paper":
        epochs = PAPER_EPOCHS_SMALL if max_atoms <= PAPER_SMALL_ATOMS else PAPER_EPOCHS_LARGE
    else:
        steps_per_epoch = -(-n_structures // (training.batch_size or 1))
        fewest, most = QUICK_EPOCHS
        epochs = min(max(-(-QUICK_STEPS // steps_per_epoch), fewest), most) * (LONG if budget == "long" else 1)
    return training.model_copy(update={"epochs": epochs})
