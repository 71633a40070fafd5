"""Trust: which base models may run code that somebody else wrote.

A stack folder or a settings file may come from a stranger.  Reading it runs no code.  Some base models would run code:
a calculator named ``module:callable``, another interpreter, a pickled checkpoint or a TorchScript program.  They run
only if the user of this machine allowed it, on the command line (``--trust``), in Python (``trust=True``), or earlier
with ``elmlff trust FOLDER``.  Nothing that is stored in a folder can allow it.

The trust store has digests of the base models that were allowed, including those of stacks that were made here.  A
digest covers everything that decides which code runs: adapter, options, interpreter and the bytes of the checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

import platformdirs

from elmlff_core.base_models.named import NamedModel
from elmlff_core.environments.folder import SELF, environment_named
from elmlff_core.errors import ElmlffError
from elmlff_core.files import read_record, sha256_of, write_record
from elmlff_core.locks import locked

FORMAT_VERSION = 1


class TrustRecord(TypedDict):
    """What the trust store holds: digests of base models."""

    allowed: list[str]


def store_path() -> Path:
    """Return the path of the trust store: ``$ELMLFF_TRUST_STORE``, or ``trust.json`` in the user's data folder."""
    given = os.environ.get("ELMLFF_TRUST_STORE")
    return Path(given) if given else Path(platformdirs.user_data_dir("elmlff")) / "trust.json"


def digest(model: NamedModel) -> str:
    """Return the hex digest of everything that decides which code `model` runs."""
    checkpoint = None if model.checkpoint is None else sha256_of(model.checkpoint)
    python = model.config.python
    if python is not None and "/" in python:
        python = str(Path(python).absolute())
    parts = [model.config.adapter, model.options.model_dump(mode="json"), checkpoint, python]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def code_of(model: NamedModel) -> list[str]:
    """Describe the code that `model` would run, beside that of its adapter; the list is empty if there is none."""
    found = []
    if model.config.python not in (None, SELF) and environment_named(model.config.python) is None:
        found.append(f"the Python interpreter {model.config.python}")
    if model.plugin.runs is not None:
        found += model.plugin.runs(model.request)
    else:
        what = "its options" if model.checkpoint is None else f"its options and the checkpoint {model.checkpoint}"
        found.append(f"whatever the adapter '{model.plugin.name}' makes of {what}")
    return found


def allow(models: Iterable[NamedModel]) -> None:
    """Add `models` to the trust store; raise ElmlffError if it cannot be written."""
    wanted = {digest(model) for model in models}
    if wanted <= _read():
        return
    path = store_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(path.with_suffix(".lock")):  # runs that end at the same time must not lose each other's entries
            write_record(path, {"format_version": FORMAT_VERSION, "allowed": sorted(wanted | _read())}, indent=1)
    except OSError as error:
        raise ElmlffError(f"cannot write the trust store {path}: {error.strerror or error}") from error


def is_allowed(model: NamedModel) -> bool:
    """Return whether the trust store has `model`."""
    return digest(model) in _read()


def refuse_untrusted(models: Sequence[NamedModel], folder: Path, remedy: str, only_inside: bool = False) -> None:
    """Refuse models that would run code and are not in the trust store.

    Parameters
    ----------
    models : base models that a folder names
    folder : the folder
    remedy : for the message, how the user allows them
    only_inside : whether checkpoints outside `folder` are refused too

    Raises
    ------
    ElmlffError
        A model is refused; the message has its name, what it would run or read, and the remedy.
    """
    for model in models:
        reason = None
        if wants := code_of(model):
            reason = f"runs {' and '.join(wants)}, which may do anything on this machine"
        elif only_inside and model.checkpoint and not model.checkpoint.resolve().is_relative_to(folder.resolve()):
            reason = f"reads {model.checkpoint}, which lies outside the folder"
        if reason and not is_allowed(model):
            raise ElmlffError(
                f"{folder} is not trusted: its base model '{model.name}' {reason}; if you trust its origin, {remedy}"
            )


def _read() -> frozenset[str]:
    """Return the digests in the trust store; raise ElmlffError if it cannot be read."""
    path = store_path()
    if not path.exists():
        return frozenset()
    return frozenset(read_record(path, TrustRecord, "remove it, and allow again what you trust")["allowed"])
