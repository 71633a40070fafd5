"""ASE calculators of universal force fields whose packages download the weights when they are first loaded.

The adapter `ase` calls these functions, in a worker under the interpreter of the model's own environment.  Therefore
this file uses only Python 3.9 and the package of the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from elmlff_core.errors import ForceFieldError


def mace_mp(model: str) -> Any:
    """Return MACE-MP, such as ``medium`` (MACE-MP-0) or ``medium-mpa-0``."""
    from mace.calculators import mace_mp as make

    with weights_of(f"MACE-MP {model}", "~/.cache/mace"):
        return make(model=model, device=_device(), default_dtype="float64")


def mace_off(model: str) -> Any:
    """Return MACE-OFF23 of the size `model`."""
    from mace.calculators import mace_off as make

    with weights_of(f"MACE-OFF23 {model}", "~/.cache/mace"):
        return make(model=model, device=_device(), default_dtype="float64")


def orb_v3(model: str) -> Any:
    """Return an Orb v3, such as ``conservative-inf-omat``."""
    from orb_models.forcefield import pretrained
    from orb_models.forcefield.inference.calculator import ORBCalculator

    make = getattr(pretrained, f"orb_v3_{model.replace('-', '_')}")
    with weights_of(f"Orb v3 {model}", "~/.cache/cached_path"):
        network, adapter = make(device=_device(), precision="float32-highest", compile=False)
    return ORBCalculator(network, adapter, device=_device())


def mattersim(model: str) -> Any:
    """Return MatterSim, such as ``MatterSim-v1.0.0-1M``."""
    from mattersim.forcefield import MatterSimCalculator

    with weights_of(model, "~/.local/mattersim/pretrained_models"):
        return MatterSimCalculator(load_path=model, device=_device())


def upet(model: str, version: str) -> Any:
    """Return a PET model of lab-cosmo, such as ``pet-mad-s`` 1.6.0."""
    from upet.ase import UPETCalculator

    with weights_of(f"{model} {version}", "~/.cache/huggingface"):
        return UPETCalculator(model=model, version=version, device=_device())


def dpa(model: str) -> Any:
    """Return a pretrained DPA of DeePMD-kit, such as ``DPA4-Mini-OMat24-v20260805``."""
    try:
        from deepmd.calculator import DP
    except ImportError as error:
        raise ForceFieldError(f'{model} needs DeePMD-kit: pip install "elmlff[deepmd]"') from error

    with weights_of(model, "~/.cache/deepmd/pretrained/models"):
        return DP(model=model)


@contextmanager
def weights_of(model: str, folder: str) -> Iterator[None]:
    """Say what is to be done where the weights of `model`, which its package keeps in `folder`, cannot be had.

    Raises
    ------
    ForceFieldError
        The package raised an exception; most often there is no network.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or "no reason given"
        raise ForceFieldError(
            f"the weights of {model} cannot be loaded: {type(error).__name__}: {reason}; they are downloaded once, to "
            f"{folder}: without a network, copy that folder from a machine that has them"
        ) from error


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
