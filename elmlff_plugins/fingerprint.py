"""Fingerprints: what a prediction depends on, as one hex digest that keys the feature cache."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from elmlff_core.errors import ForceFieldError


def distribution_version(distribution: str) -> str:
    """Installed version of a distribution, found without importing it; "" where there is none."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def existing_checkpoint(checkpoint: Path | None, model: str, adapter: str) -> Path:
    """The absolute path of a checkpoint; ForceFieldError where none is given or it is no file."""
    if checkpoint is None:
        raise ForceFieldError(f"model '{model}' needs a checkpoint: adapter '{adapter}' loads nothing without one")
    if not checkpoint.is_file():
        raise ForceFieldError(f"the checkpoint of model '{model}' is missing: there is no file {checkpoint}")
    return checkpoint.resolve()


def fingerprint(adapter: str, distribution: str, checkpoint: Path | None, *settings: object) -> str:
    """Hex digest of an adapter, its version, the backend's version, the checkpoint's bytes and `settings`.

    Parameters
    ----------
    adapter : name and version of the adapter's own code, ``dp/1``: the version rises when its predictions change
    distribution : the backend's, whose installed version counts
    checkpoint : whose bytes count, not its path
    settings : anything else that changes predictions; their `repr` must tell them apart
    """
    digest = hashlib.sha256()
    for part in (adapter, distribution, distribution_version(distribution), *map(repr, settings)):
        digest.update(part.encode() + b"\0")
    if checkpoint is not None:
        # Not hashlib.file_digest: workers run this under Python 3.9.
        contents = hashlib.sha256()
        with checkpoint.open("rb") as file:
            while chunk := file.read(1 << 20):
                contents.update(chunk)
        digest.update(contents.digest())
    return digest.hexdigest()
