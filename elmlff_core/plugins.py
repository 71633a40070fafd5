"""Plugins: isolated loading, listing, and look-up with "did you mean".

Every entry point of the group ``elmlff`` is imported on its own.  One that raises, or whose hooks do not fit, is kept
as a failure with its reason; it never breaks another command.
"""

from __future__ import annotations

import importlib
import importlib.util
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Literal

import pluggy

from elmlff_core.errors import PluginError, did_you_mean
from elmlff_core.hookspecs import PROJECT, ForceFieldPlugin, HookSpecs, MetaModelPlugin

Kind = Literal["adapter", "meta-model"]
PREFIX = f"{PROJECT}_"


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from: distribution, its version, and the module."""

    distribution: str
    version: str
    module: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".strip()


@dataclass(frozen=True)
class Failure:
    """A plugin that could not be used: its name, origin, reason in one line, and the traceback."""

    name: str
    origin: Origin
    reason: str
    traceback: str = ""


@dataclass
class Registry:
    """What the installed plugins offer, and which of them failed."""

    force_fields: dict[str, tuple[ForceFieldPlugin, Origin]] = field(default_factory=dict)
    meta_models: dict[str, tuple[MetaModelPlugin, Origin]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def force_field(self, name: str) -> ForceFieldPlugin:
        """The adapter called `name`; PluginError, with the nearest name, where there is none."""
        return self._find("adapter", name, self.force_fields)

    def meta_model(self, name: str) -> MetaModelPlugin:
        """The meta-model called `name`; PluginError, with the nearest name, where there is none."""
        return self._find("meta-model", name, self.meta_models)

    def records(self) -> Iterator[tuple[Kind, ForceFieldPlugin | MetaModelPlugin, Origin]]:
        """Everything that works or lacks only its backend, adapters first."""
        for force_field, origin in self.force_fields.values():
            yield "adapter", force_field, origin
        for meta_model, origin in self.meta_models.values():
            yield "meta-model", meta_model, origin

    def _find[Record](self, kind: Kind, name: str, known: dict[str, tuple[Record, Origin]]) -> Record:
        if name in known:
            return known[name][0]
        for failure in self.failures:
            if name in (failure.name, failure.origin.module):
                raise PluginError(f"the plugin of {kind} '{name}' failed: {failure.reason}")
        raise PluginError(f"no {kind} is called '{name}'{did_you_mean(name, known)}")


def missing_requirements(record: ForceFieldPlugin | MetaModelPlugin) -> list[str]:
    """Modules that `record` needs and that are not installed, without importing any."""
    return [module for module in record.requires if importlib.util.find_spec(module) is None]


def install_hint(record: ForceFieldPlugin | MetaModelPlugin) -> str:
    """The line that installs what `record` needs."""
    if record.extra:
        return f'pip install "elmlff[{record.extra}]"'
    return "pip install " + " ".join(record.requires)


def require(record: ForceFieldPlugin | MetaModelPlugin) -> None:
    """Raise PluginError with the install line where a module that `record` needs is missing."""
    if missing := missing_requirements(record):
        raise PluginError(f"'{record.name}' needs {', '.join(missing)}, not installed here: {install_hint(record)}")


@cache
def registry() -> Registry:
    """Load every installed plugin once, each on its own."""
    found = Registry()
    for entry_point in sorted(entry_points(group=PROJECT), key=lambda point: (point.name, point.value)):
        _load_into(found, entry_point)
    return found


def _load_into(found: Registry, entry_point: EntryPoint) -> None:
    distribution = entry_point.dist
    origin = Origin(
        distribution=distribution.name if distribution else "unknown",
        version=distribution.version if distribution else "",
        module=entry_point.value,
    )
    try:
        records = list(_records(entry_point))
        for kind, record in records:
            _refuse_taken(found, kind, record.name, origin)
    except Exception as error:  # a plugin may raise anything; the rest must go on working
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        found.failures.append(Failure(entry_point.name, origin, reason, traceback.format_exc()))
        return
    for _, record in records:
        if isinstance(record, ForceFieldPlugin):
            found.force_fields[record.name] = (record, origin)
        else:
            found.meta_models[record.name] = (record, origin)


def _records(entry_point: EntryPoint) -> Iterator[tuple[Kind, ForceFieldPlugin | MetaModelPlugin]]:
    """What one plugin offers, after checking its hooks in a plugin manager of its own."""
    module = entry_point.load()
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(HookSpecs)
    manager.register(module, name=entry_point.name)
    manager.check_pending()
    _refuse_misspelt(module)
    kinds: list[tuple[Kind, type[ForceFieldPlugin] | type[MetaModelPlugin], pluggy.HookCaller]] = [
        ("adapter", ForceFieldPlugin, manager.hook.elmlff_force_fields),
        ("meta-model", MetaModelPlugin, manager.hook.elmlff_meta_models),
    ]
    for kind, record_type, hook in kinds:
        for record in (record for answer in hook() for record in answer):
            if not isinstance(record, record_type):
                raise PluginError(f"{hook.name} yielded {type(record).__name__}, expected {record_type.__name__}")
            yield kind, record


def _refuse_misspelt(module: object) -> None:
    """Functions that look like hooks of elmlff but are none would otherwise be passed over in silence."""
    known = [name for name in vars(HookSpecs) if name.startswith(PREFIX)]
    for name in dir(module):
        if name.startswith(PREFIX) and name not in known and callable(getattr(module, name)):
            raise PluginError(f"'{name}' is no hook of elmlff{did_you_mean(name, known)}")


def _refuse_taken(found: Registry, kind: Kind, name: str, origin: Origin) -> None:
    taken = found.force_fields if kind == "adapter" else found.meta_models
    if name in taken:
        raise PluginError(f"{kind} '{name}' of {origin} is already provided by {taken[name][1]}")
