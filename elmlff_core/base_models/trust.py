"""Trust: which base models may run code that somebody else wrote.

A stack folder or a settings file may come from a stranger.  Reading it runs no code.  What would run code (a calculator
named ``module:callable``, another interpreter, a pickled checkpoint or a TorchScript program) runs only where the user
of this machine allowed it: on the command (``--trust``), in Python (``trust=True``), or before, by ``elmlff trust
FOLDER``. Nothing that is stored in a folder can allow it.

The trust store holds digests of what was allowed, of stacks that were made here too.  A digest covers all that decides
what runs: adapter, options, interpreter and the bytes of the checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import platformdirs

from elmlff_core.base_models.named import NamedModel
from elmlff_core.errors import ElmlffError
from elmlff_core.files import sha256_of, write_json
from elmlff_core.worker.process import SELF

FORMAT_VERSION = 1


def store_path() -> Path:
    """The file of the trust store: ``$ELMLFF_TRUST_STORE``, or ``trust.json`` in the user's data folder."""
    given = os.environ.get("ELMLFF_TRUST_STORE")
    return Path(given) if given else Path(platformdirs.user_data_dir("elmlff")) / "trust.json"


def digest(model: NamedModel) -> str:
    """Hex digest of all that decides what `model` runs."""
    checkpoint = None if model.checkpoint is None else sha256_of(model.checkpoint)
    python = model.config.python
    if python is not None and "/" in python:
        python = str(Path(python).absolute())
    parts = [model.config.adapter, model.options.model_dump(mode="json"), checkpoint, python]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def code_of(model: NamedModel) -> list[str]:
    """Descriptions of the code that `model` would run, empty where it runs none but that of its adapter."""
    found = []
    if model.config.python not in (None, SELF):
        found.append(f"the Python interpreter {model.config.python}")
    if model.plugin.runs is not None:
        found += model.plugin.runs(model.request)
    else:
        what = "its options" if model.checkpoint is None else f"its options and the checkpoint {model.checkpoint}"
        found.append(f"whatever the adapter '{model.plugin.name}' makes of {what}")
    return found


def allow(models: Iterable[NamedModel]) -> None:
    """Add `models` to the trust store; ElmlffError where it cannot be written."""
    known = _read()
    wanted = known | {digest(model) for model in models}
    if wanted != known:
        path = store_path()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ElmlffError(f"cannot write the trust store {path}: {error.strerror or error}") from error
        write_json(path, {"format_version": FORMAT_VERSION, "allowed": sorted(wanted)}, indent=1)


def is_allowed(model: NamedModel) -> bool:
    """Whether the trust store holds `model`."""
    return digest(model) in _read()


def refuse_code(models: Sequence[NamedModel], folder: Path, remedy: str) -> None:
    """Refuse models that would run code and that the trust store does not hold.

    Parameters
    ----------
    models : that a folder names
    folder : where they come from
    remedy : how the user allows them, for the message

    Raises
    ------
    ElmlffError
        Naming the model, what it would run, and how to allow it.
    """
    for model in models:
        if (wants := code_of(model)) and not is_allowed(model):
            raise ElmlffError(
                f"{folder} is not trusted: its base model '{model.name}' runs {' and '.join(wants)}, which may do "
                f"anything on this machine; if you trust its origin, {remedy}"
            )


def refuse_files_outside(models: Sequence[NamedModel], folder: Path, remedy: str) -> None:
    """Refuse models with checkpoints outside `folder` that the trust store does not hold; see `refuse_code`."""
    for model in models:
        inside = model.checkpoint is None or model.checkpoint.resolve().is_relative_to(folder.resolve())
        if not inside and not is_allowed(model):
            raise ElmlffError(
                f"{folder} is not trusted: its base model '{model.name}' reads {model.checkpoint}, which lies outside "
                f"the folder; if you trust its origin, {remedy}"
            )


def _read() -> frozenset[str]:
    """Digests in the trust store; a store that cannot be read allows nothing, and says so."""
    path = store_path()
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return frozenset(record["allowed"])
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ElmlffError(
            f"cannot read the trust store {path}: {type(error).__name__}: {error}; remove it and allow again what you "
            "trust"
        ) from error
