"""The devices of a training: whether this machine has them."""

from __future__ import annotations

from elmlff_core.errors import ConfigError
from elmlff_core.execution.launch import current
from elmlff_core.resources import n_cores
from elmlff_core.settings.config import TrainingConfig


def check_device(training: TrainingConfig) -> None:
    """Raise ConfigError if the settings ask for devices that this machine does not have, or that would be idle."""
    devices = training.devices
    if training.device == "cuda" and not runs_on_gpus(training):
        raise ConfigError(
            "'training.device' is cuda, but torch finds no CUDA GPU on this machine: take 'cpu' or 'auto'"
        )
    if (launch := current()) is not None and devices != launch.n:
        raise ConfigError(
            f"'training.devices' is {devices}, but {launch.n} processes were started for this command, one for each "
            f"device: take {launch.n}"
        )
    if devices == 1:
        return
    if training.batch_size is not None and devices > training.batch_size:
        raise ConfigError(
            f"'training.devices' is {devices}, but a batch has only {training.batch_size} structures to divide among "
            "them: take fewer devices or a larger training.batch_size"
        )
    if launch is not None:
        return  # its devices are those of several machines
    if runs_on_gpus(training):
        import torch

        if devices > (n := torch.cuda.device_count()):
            raise ConfigError(
                f"'training.devices' is {devices}, but torch finds {n} CUDA GPU{'s' if n > 1 else ''} on this machine: "
                f"take {n}, or processes on the CPU by training.device = 'cpu'"
            )
    elif devices > n_cores():
        raise ConfigError(
            f"'training.devices' is {devices}, but there are no CUDA GPUs, and this process may use {n_cores()} cores "
            f"of the CPU: take at most {n_cores()}"
        )


def runs_on_gpus(training: TrainingConfig) -> bool:
    """Return whether the training runs on CUDA GPUs: where there are any, unless the settings say otherwise."""
    if training.device == "cpu":
        return False
    import torch  # takes seconds, and settings are read without it

    return torch.cuda.is_available()
