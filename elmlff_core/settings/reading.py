"""Read settings from a file and the command line; errors name the key and the most similar known key."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from elmlff_core.errors import ConfigError, did_you_mean
from elmlff_core.settings.config import DEFAULT_FILE, Config, ModelConfig
from elmlff_core.settings.inheritance import inherited
from elmlff_core.settings.run_folder import RUN_FILE


def read_config(
    path: Path | None = None,
    values: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> Config:
    """Read settings from a file; `values` replace those of the file, and `assignments` from ``--set`` replace both.

    Parameters
    ----------
    path : elmlff.toml; None takes the one in the current folder, if any.  Paths in it are relative to its folder.
    values : nested settings; entries that are None are ignored
    assignments : ``key.subkey=value``; a value that is not valid TOML is taken as a string
    defaults : nested settings that are replaced by all others

    With ``data.earlier_run`` the settings of that run hold where `path`, `values` and `assignments` have no others.

    Raises
    ------
    ConfigError
        The file is missing or not valid TOML; a key is unknown (with a suggestion); a value is not valid.
    ElmlffError
        There is no earlier run in the folder of that name.
    """
    try:
        return _read_config(path, values or {}, assignments, defaults or {})
    except RecursionError as error:
        raise ConfigError("the settings are nested too deeply: no setting needs so many brackets or dots") from error


def _read_config(
    path: Path | None, values: Mapping[str, Any], assignments: Sequence[str], defaults: Mapping[str, Any]
) -> Config:
    raw: dict[str, Any] = {}
    if path is None and DEFAULT_FILE.exists():
        path = DEFAULT_FILE
    if path is not None:
        raw = _anchored(_read_toml(path), path.parent)
        validated(Config, raw, str(path))  # by itself: what goes over it would hide a wrong table
    raw = _overlay(raw, values)
    for assignment in assignments:
        raw = _overlay(raw, _parse_assignment(assignment))
    is_whole = path is not None and (path.parent / RUN_FILE).exists()  # what a run has written lacks nothing
    raw = _overlay(_overlay(defaults, {} if is_whole else inherited(raw)), raw)
    return validated(Config, raw, f"{path or 'the settings'}")


def validated[Model: BaseModel](model: type[Model], raw: Mapping[str, Any], where: str) -> Model:
    """Validate `raw` as a `model`; ConfigError names the key, the value found, and the most similar known key."""
    try:
        return model.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(model, problem, where) for problem in error.errors())) from error


def from_options[Model: BaseModel](model: type[Model], values: Mapping[str, Any]) -> Model:
    """Validate the options of a command as a `model`; ConfigError names the first option that is wrong."""
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])).replace("_", "-")
        raise ConfigError(f"{where and f'--{where}: '}{first['msg'].removeprefix('Value error, ')}") from error


def _explain(model: type[BaseModel], problem: Any, where: str) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}' in {where}{did_you_mean(location[-1], _known_keys(model, location[:-1]))}"
    if problem["type"] == "missing":
        return f"'{key}' is missing in {where}"
    message = problem["msg"].removeprefix("Value error, ")
    if not location:  # of several keys together
        return f"{where}: {message}"
    return f"'{key}' in {where}: {message}, found {problem['input']!r}"


def _known_keys(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    current: Any = model
    for part in path:
        if current is Config and part == "models":
            current = {"models": ModelConfig}
        elif isinstance(current, dict):  # the user's own name of a model
            current = ModelConfig
        else:
            annotation = current.model_fields[part].annotation if part in current.model_fields else None
            if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
                return []
            current = annotation
    return [] if isinstance(current, dict) else list(current.model_fields)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"there is no {path}; `elmlff init` writes a commented one") from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _anchored(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Resolve paths relative to the folder of the file, so that it can be used from any folder."""
    data = raw.get("data")
    if isinstance(data, dict):
        for key in ("train", "test", "earlier_run"):
            if isinstance(data.get(key), str) and (folder / data[key]).exists():
                data[key] = str(folder / data[key])
    for model in raw.get("models", {}).values() if isinstance(raw.get("models"), dict) else ():
        if isinstance(model, dict) and isinstance(model.get("checkpoint"), str):
            model["checkpoint"] = str(folder / Path(model["checkpoint"]).expanduser())
        # A name without "/", such as "self" or "python3.12", is not a path.
        if isinstance(model, dict) and isinstance(model.get("python"), str) and "/" in model["python"]:
            model["python"] = str((folder / Path(model["python"]).expanduser()).absolute())
    return raw


def _overlay(below: Mapping[str, Any], above: Mapping[str, Any], table: str = "") -> dict[str, Any]:
    """Return `below` with the values of `above` in their place; a table never replaces a value, which would be lost."""
    merged = dict(below)
    for key, value in above.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            under = merged.get(key, {})
            if not isinstance(under, Mapping):
                name = f"{table}{key}"
                raise ConfigError(f"'{name}' is set to {under!r}, and to a table with {name}.{next(iter(value), '')}")
            value = _overlay(under, value, f"{table}{key}.")
        merged[key] = value
    return merged


def assigned(assignments: Sequence[str], option: str) -> dict[str, Any]:
    """Return the values of ``key.subkey=value``; a value that is not valid TOML is taken as a string.

    ConfigError names the `option` of the command line where one is not of this form.
    """
    found: dict[str, Any] = {}
    for assignment in assignments:
        found = _overlay(found, _parse_assignment(assignment, option))
    return found


def _parse_assignment(assignment: str, option: str = "--set") -> dict[str, Any]:
    key, separator, text = assignment.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"{option} takes key.subkey=value, found '{assignment}'")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for part in reversed(key.strip().split(".")):
        value = {part: value}
    return value
