"""What a base model in a worker is, remembered, so that it is loaded only when something has to be predicted.

To load a universal model takes many seconds.  A run whose features are all cached needs to know only the fingerprint,
the elements and the cutoff.  They are kept in the cache folder, under a hash of all that decides them: adapter and its
code, options, the bytes of the checkpoint, and the Python and packages of the worker.  Whenever the model is loaded,
what it says is compared with them.

Models that run code beside that of their adapter and of installed packages are not remembered: a calculator in a file
of the user, for example, may change without any of these.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from elmlff_core.arrays import cache_folder
from elmlff_core.contracts.hookspecs import ForceFieldPlugin, LoadRequest
from elmlff_core.errors import ElmlffError
from elmlff_core.files import read_record, sha256_of, write_record

# Of the message ``open``: where things lie, and what is hashed by its content.
PLACES = ("checkpoint", "sys_path", "packages")


class Identity(TypedDict):
    """What a worker says of its force field in the message ``ready``."""

    elements: list[str] | None
    cutoff: float | None
    fingerprint: str
    environment: str


def is_settled(request: LoadRequest, plugin: ForceFieldPlugin) -> bool:
    """Whether adapter, options, checkpoint and installed packages decide what the base model is."""
    there = request.checkpoint is None or request.checkpoint.is_file()  # a missing one is reported when it is loaded
    return there and plugin.runs is not None and not plugin.runs(request)


def identity_file(request: LoadRequest, plugin: ForceFieldPlugin, opening: Mapping[str, Any], environment: str) -> Path:
    """Return where the identity of a base model is remembered.

    Parameters
    ----------
    opening : the header of the message ``open``
    environment : digest of the worker's Python and packages
    """
    code = _code_file(plugin)
    parts = [
        {name: value for name, value in opening.items() if name not in PLACES},
        opening["sys_path"] is not None,
        None if request.checkpoint is None else sha256_of(request.checkpoint),
        None if code is None else sha256_of(code),
        environment,
    ]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "models" / f"{key[:32]}.json"


def recall(file: Path) -> Identity | None:
    """Return the identity in `file`; None if there is none, or it is damaged."""
    try:
        return read_record(file, Identity)
    except ElmlffError:
        return None


def remember(file: Path, ready: Mapping[str, Any]) -> None:
    """Keep what the message ``ready`` says in `file`; a cache that cannot be written only costs time."""
    record = {name: ready[name] for name in Identity.__annotations__}
    with contextlib.suppress(ElmlffError, OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_record(file, record)


def _code_file(plugin: ForceFieldPlugin) -> Path | None:
    """Return the file of the adapter: while somebody writes it, it changes and its version does not."""
    module = plugin.standalone or getattr(plugin.load, "__module__", "")
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
    else:
        spec = importlib.util.find_spec(module)
        file = None if spec is None else spec.origin
    return None if file is None else Path(file)
