"""ASE calculators of universal force fields whose packages download the weights when they are first loaded.

The adapter `ase` calls these functions, in a worker under the interpreter of the model's own environment.  Therefore
this file uses only Python 3.9 and the package of the model.  `weights` is a file of the user with the weights, the
checkpoint of the model; without it the package takes what it has downloaded before, or downloads it.
"""

from __future__ import annotations

import inspect
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from elmlff_core.errors import ForceFieldError

MATTERSIM_FOLDER = Path("~/.local/mattersim/pretrained_models")
MATTERSIM_URL = "https://raw.githubusercontent.com/microsoft/mattersim/main/pretrained_models"
UPET_REPOSITORY = "lab-cosmo/upet"
NO_CONNECTION = (socket.gaierror, ConnectionError, TimeoutError, ssl.SSLError)


def mace_mp(model: str, weights: str | None = None) -> Any:
    """Return MACE-MP, such as ``medium`` (MACE-MP-0) or ``medium-mpa-0``."""
    from mace.calculators import mace_mp as make
    from mace.calculators.foundations_models import mace_mp_urls
    from mace.tools.utils import get_cache_dir

    url = mace_mp_urls.get(model, "")
    file = "".join(letter for letter in Path(url).name if letter.isalnum() or letter == "_")
    with weights_of(f"MACE-MP {model}", url, weights, get_cache_dir() / file):
        return make(model=weights or model, device=_device(), default_dtype="float64")


def mace_off(model: str, weights: str | None = None) -> Any:
    """Return MACE-OFF23 of the size `model`."""
    from mace.calculators import mace_off as make
    from mace.calculators.foundations_models import mace_off_urls
    from mace.tools.utils import get_cache_dir

    url = mace_off_urls.get(model, "")
    with weights_of(f"MACE-OFF23 {model}", url, weights, get_cache_dir() / Path(url).name):
        return make(model=weights or model, device=_device(), default_dtype="float64")


def orb_v3(model: str, weights: str | None = None) -> Any:
    """Return an Orb v3, such as ``conservative-inf-omat``."""
    from orb_models.forcefield import pretrained
    from orb_models.forcefield.inference.calculator import ORBCalculator

    make = getattr(pretrained, f"orb_v3_{model.replace('-', '_')}")
    url = inspect.signature(make).parameters["weights_path"].default
    with weights_of(f"Orb v3 {model}", url, weights):
        network, adapter = make(weights or url, device=_device(), precision="float32-highest", compile=False)
    return ORBCalculator(network, adapter, device=_device())


def mattersim(model: str, weights: str | None = None) -> Any:
    """Return MatterSim, such as ``MatterSim-v1.0.0-1M``."""
    from mattersim.forcefield import MatterSimCalculator

    file = model.replace("MatterSim", "mattersim") + ".pth"
    with weights_of(model, f"{MATTERSIM_URL}/{file}", weights, MATTERSIM_FOLDER.expanduser() / file):
        return MatterSimCalculator(load_path=weights or model, device=_device())


def upet(model: str, version: str, weights: str | None = None) -> Any:
    """Return a PET model of lab-cosmo, such as ``pet-mad-s`` 1.6.0."""
    from huggingface_hub import hf_hub_download, hf_hub_url
    from upet.ase import UPETCalculator

    file = f"models/{model}-v{version}.ckpt"
    with weights_of(f"{model} {version}", hf_hub_url(UPET_REPOSITORY, file), weights):
        # By its name alone, UPET would ask the server for a list of models, even if the weights are here.
        path = weights or hf_hub_download(UPET_REPOSITORY, file)
        return UPETCalculator(checkpoint_path=path, device=_device())


def dpa(model: str, weights: str | None = None) -> Any:
    """Return a pretrained DPA of DeePMD-kit, such as ``DPA4-Mini-OMat24-v20260805``."""
    try:
        from deepmd.calculator import DP
        from deepmd.pretrained.download import DEFAULT_CACHE_DIR
        from deepmd.pretrained.registry import MODEL_REGISTRY
    except ImportError as error:
        raise ForceFieldError(f'{model} needs DeePMD-kit 3.2 or newer: pip install "elmlff[deepmd]"') from error

    entry = MODEL_REGISTRY.get(model, {"urls": [""], "filename": model})
    with weights_of(model, entry["urls"][0], weights, DEFAULT_CACHE_DIR / entry["filename"]):
        return DP(model=weights or model)


@contextmanager
def weights_of(model: str, url: str, weights: str | None, file: Path | None = None) -> Iterator[None]:
    """Say what is to be done where the weights of `model` cannot be had or loaded.

    Parameters
    ----------
    model : name of the model, for the message
    url : where its package downloads the weights
    weights : file that the user names instead
    file : file in which the package looks for the weights before it downloads them; None if its name is made of hashes

    Raises
    ------
    ForceFieldError
        The package raised an exception; most often there is no network.
    """
    try:
        yield
    except Exception as error:
        what = f"the weights of {model}"
        if weights is not None:
            raise ForceFieldError(f"{what} cannot be loaded from {weights}: {_reason(error)}") from error
        if file is not None and file.is_file():
            remedy = f"remove that file to download it again from {url}, or replace it"
            raise ForceFieldError(f"{what} cannot be loaded from {file}: {_reason(error)}; {remedy}") from error
        place = f"save the file as {file}" if file is not None else "copy the file here"
        name_it = "" if file is not None else ' and name it by checkpoint = "FILE" under [models.NAME] of elmlff.toml'
        lost = _lost_connection(error)
        reason = f"no connection to {urlsplit(url).hostname}: {lost}" if lost else _reason(error)
        raise ForceFieldError(
            f"{what} cannot be downloaded: {reason}; without a network, download {url} on another machine, {place}"
            f"{name_it}, and run again"
        ) from error


def _lost_connection(error: BaseException | None) -> str:
    """Return what the system says of a connection that failed, or "" if `error` has another cause."""
    while error is not None:
        if isinstance(error, NO_CONNECTION):
            return getattr(error, "strerror", None) or _reason(error)
        error = error.__cause__ or error.__context__
    return ""


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300] or "no reason given"
    return f"{type(error).__name__}: {text}"


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
