"""Inherited settings: a later generation of a stack has those of the earlier run where it is given no others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elmlff_core.errors import ElmlffError
from elmlff_core.files import read_record
from elmlff_core.settings.config import Config
from elmlff_core.settings.run_folder import GENERATION_FILE, METRICS_FILE, GenerationRecord

REMEDY = "run the command of that run again: it makes what is missing"


def inherited(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that `own` inherits from the run in ``data.earlier_run``; none if it names no run.

    Options of a meta-model are inherited together with its name alone.  ElmlffError if there is no such run.
    """
    data = own.get("data")
    earlier = data.get("earlier_run") if isinstance(data, Mapping) else None
    if not isinstance(earlier, str) or not earlier:
        return {}
    found = read_generation(Path(earlier))["settings"]
    meta = own.get("meta")
    if isinstance(meta, Mapping) and "name" in meta:
        found.pop("meta", None)
    return found


def read_generation(folder: Path) -> GenerationRecord:
    """Read what a finished run of ``elmlff stack`` left in `folder` for a later one; ElmlffError if there is none."""
    folder = folder.expanduser()
    record = folder / GENERATION_FILE
    if not record.is_file():
        raise ElmlffError(
            f"{folder} holds no run of `elmlff stack` from which another can go on: there is no {GENERATION_FILE} in "
            f"it; if an earlier elmlff made the run, {REMEDY}"
        )
    if not (folder / METRICS_FILE).is_file():
        raise ElmlffError(f"the run in {folder} is not complete: {REMEDY}")
    return read_record(record, GenerationRecord, REMEDY)


def given_settings(config: Config) -> dict[str, Any]:
    """Return, as plain data, what was given of `config`, for a later run in any folder: paths are absolute.

    Left out are the data, which are others in a later run, and where steps run.
    """
    others: Any = {"resources": True, "data": {"train", "earlier_run"}}
    found = config.model_dump(mode="json", exclude_unset=True, exclude=others)
    found["base_models"] = list(config.base_models)
    if (test := config.data.test) and Path(test).expanduser().exists():
        found["data"]["test"] = str(Path(test).expanduser().absolute())
    for name, model in config.models.items():
        if model.checkpoint is not None:
            found["models"][name]["checkpoint"] = str(model.checkpoint.absolute())
        if model.python is not None and "/" in model.python:
            found["models"][name]["python"] = str(Path(model.python).absolute())
    return found
