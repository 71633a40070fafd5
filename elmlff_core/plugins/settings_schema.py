"""The JSON schema of elmlff.toml, with the options of the installed adapters and meta-models.

Editors that know JSON schemas complete the keys of a file with it, show what they mean, and mark mistakes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

from pydantic import BaseModel

from elmlff_core.contracts.hookspecs import PROJECT, ForceFieldPlugin, Preset
from elmlff_core.plugins.registry import Registry, registry
from elmlff_core.settings.config import MODEL_NAME, Config

SCHEMA_FILE = "elmlff.schema.json"
DIALECT = "http://json-schema.org/draft-07/schema#"  # the newest that the TOML language servers of editors know
# Definitions of the settings -> their tables in the commented file that `elmlff init` writes.
TABLES = {
    "DataConfig": "data", "TrainingConfig": "training", "ModelConfig": "models.mine", "ResourcesConfig": "resources",
    "JobConfig": "resources.job",
}  # fmt: skip


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema of the settings, as plain data."""
    found = registry()
    schema = Config.model_json_schema(ref_template="#/definitions/{model}")
    definitions = schema.pop("$defs")
    texts = _commented()
    for table, described in (("", schema), *((name, definitions[title]) for title, name in TABLES.items())):
        for key, value in described["properties"].items():
            if "$ref" not in value:  # a table, which has a description of its own
                value["description"] = texts.get((table, key), "")
    model = definitions.pop("ModelConfig")
    schema["properties"] |= {"models": _models(model, found), "meta": _meta(found)}
    schema["properties"]["base_models"]["items"] = _suggested(found.presets)
    adapters = {f"options-of-{name}": _options(plugin.options) for name, (plugin, _) in found.force_fields.items()}
    metas = {f"meta-{name}": _options(plugin.options) for name, (plugin, _) in found.meta_models.items()}
    return {
        "$schema": DIALECT,
        "title": f"Settings of elmlff {_version()}",
        "description": "elmlff.toml: data, base models, meta-models and training of a run of elmlff",
        **{key: value for key, value in schema.items() if key not in ("title", "description")},
        "definitions": definitions | adapters | metas,
    }


def _models(model: dict[str, Any], found: Registry) -> dict[str, Any]:
    """Return the schema of the table ``models``: presets by their names, and others with an adapter."""
    own = {**model, "properties": dict(model["properties"])}
    description = own["properties"]["adapter"]["description"]
    own["properties"]["adapter"] = {"description": description, **_suggested(found.force_fields)}
    own["properties"]["options"] = {"type": "object", "description": "options of the adapter"}
    own["allOf"] = [_if_adapter(plugin) for plugin, _ in found.force_fields.values()]
    return {
        "type": "object",
        "description": "base models of your own, or presets with other settings, each a table under its name",
        "properties": {name: _of_preset(preset) for name, (preset, _) in found.presets.items()},
        "patternProperties": {f"^{MODEL_NAME.pattern}$": own},
        "additionalProperties": False,
    }


def _of_preset(preset: Preset) -> dict[str, Any]:
    # What holds for every model follows from the pattern of names; this adds the options of the preset's adapter.
    table: dict[str, Any] = {"type": "object", "description": f"preset: {preset.summary}"}
    if preset.adapter in registry().force_fields:
        table["if"] = {"not": {"required": ["adapter"]}}
        table["then"] = {"properties": {"options": _reference(f"options-of-{preset.adapter}")}}
    return table


def _if_adapter(plugin: ForceFieldPlugin) -> dict[str, Any]:
    return {
        "if": {"properties": {"adapter": {"const": plugin.name}}, "required": ["adapter"]},
        "then": {"properties": {"options": _reference(f"options-of-{plugin.name}")}},
    }


def _meta(found: Registry) -> dict[str, Any]:
    """Return the schema of the table ``meta``: a name or several, options, and a table of options for each name."""
    options: dict[str, Any] = {}
    for name, (plugin, _) in found.meta_models.items():
        for key, value in _options(plugin.options)["properties"].items():
            text = f"of {name}: {value.get('description', '')}"
            options.setdefault(key, {"description": text, "anyOf": []})["anyOf"].append(value)
    one = _suggested(found.meta_models)
    names = {"description": "as in 'egat' or 'linear,egat'", "anyOf": [one, {"type": "array", "items": one}]}
    tables = {name: _reference(f"meta-{name}") for name in found.meta_models}
    return {
        "type": "object",
        "description": "the meta-model, or several to compare, and their options",
        "properties": {**options, **tables, "name": names},
        "additionalProperties": False,
    }


def _suggested(records: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Return a string for which the names of `records` are suggested; others are allowed."""
    named = [{"const": name, "description": record.summary} for name, (record, _) in records.items()]
    return {"anyOf": [*named, {"type": "string"}]}


def _options(options: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of the options of a plugin, described by its docstrings, without references."""
    schema = options.model_json_schema()
    schema = {"properties": {}, **_inlined(schema, schema.pop("$defs", {}))}
    for parent in reversed(options.__mro__):
        for key, text in attributes_of(parent).items():
            if key in schema["properties"]:
                schema["properties"][key]["description"] = text
    schema["description"] = schema.get("description", "").partition("\n\n")[0].replace("\n", " ")
    return schema


def _inlined(value: Any, definitions: Mapping[str, Any]) -> Any:
    """Replace references by what they refer to."""
    if isinstance(value, list):
        return [_inlined(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        beside = {key: item for key, item in value.items() if key != "$ref"}
        return _inlined({**definitions[value["$ref"].rpartition("/")[2]], **beside}, definitions)
    return {key: _inlined(item, definitions) for key, item in value.items()}


def _commented() -> dict[tuple[str, str], str]:
    """Return (table, key) -> the comment on it in the file that `elmlff init` writes, which has every key."""
    text = (files("elmlff_core") / "templates" / "settings" / "elmlff.toml.txt").read_text(encoding="utf-8")
    found: dict[tuple[str, str], str] = {}
    table, last = "", ("", "")
    for line in text.splitlines():
        if header := re.match(r"(?:# )?\[([\w.]+)\]", line):
            table, last = header[1], ("", "")
        elif entry := re.match(r"(?:# )?(\w+) = .*?  +# (.*)", line):
            last = (table, entry[1])
            found[last] = entry[2]
        elif (more := re.match(r" {10,}# (.*)", line)) and last in found:
            found[last] += f" {more[1]}"
    return found


def attributes_of(documented: type) -> dict[str, str]:
    """Return name -> text of the section ``Attributes`` of a docstring in numpy style, each in one line."""
    section = re.split(r"^Attributes\n-+\n", inspect.cleandoc(documented.__doc__ or ""), flags=re.MULTILINE)
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section[1].splitlines() if len(section) == 2 else ():
        if entry := re.match(r"([a-z_, ]+?) : (.*)", line):
            names = [name.strip() for name in entry[1].split(",")]
            found |= dict.fromkeys(names, entry[2])
        elif line.startswith(" "):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/definitions/{name}"}


def _version() -> str:
    try:
        return version(PROJECT)
    except PackageNotFoundError:
        return ""  # elmlff runs from a folder without being installed
