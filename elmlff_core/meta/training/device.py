"""The device of a training: whether this machine has it."""

from __future__ import annotations

from elmlff_core.errors import ConfigError
from elmlff_core.settings.config import TrainingConfig


def check_device(training: TrainingConfig) -> None:
    """Raise ConfigError if the settings ask for a CUDA GPU and torch finds none here."""
    if training.device != "cuda":
        return
    import torch  # takes seconds, and settings are read without it

    if not torch.cuda.is_available():
        raise ConfigError(
            "'training.device' is cuda, but torch finds no CUDA GPU on this machine: take 'cpu' or 'auto'"
        )
