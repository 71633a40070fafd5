"""The registry of plugins: those installed, those that failed, and look-up by name.

Every entry point of the group ``elmlff`` is loaded separately (`elmlff_core.plugins.loading`).  A plugin that raises an
exception, or whose hooks are not valid, is recorded as a failure with its reason and does not disturb other commands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Literal

from elmlff_core.contracts.hookspecs import (
    PROJECT,
    EnvironmentRecipe,
    ForceFieldPlugin,
    MetaModelPlugin,
    PackageClash,
    Preset,
)
from elmlff_core.errors import PluginError, did_you_mean
from elmlff_core.plugins.loading import load_plugin, origin_of
from elmlff_core.plugins.records import Contribution, Failure, Kind, Named, Origin, Record
from elmlff_core.plugins.requirements import install_hint, missing_requirements, unmet_versions

MIXED = "+"  # between the names of meta-models: the mean of them


@dataclass
class Registry:
    """The records of the installed plugins, and the plugins that failed.

    Attributes
    ----------
    force_fields, meta_models, presets, environments : name -> the record and its origin
    clashes : clashes of packages that plugins know
    failures : plugins, or single records of them, that cannot be used
    """

    force_fields: dict[str, tuple[ForceFieldPlugin, Origin]] = field(default_factory=dict)
    meta_models: dict[str, tuple[MetaModelPlugin, Origin]] = field(default_factory=dict)
    presets: dict[str, tuple[Preset, Origin]] = field(default_factory=dict)
    environments: dict[str, tuple[EnvironmentRecipe, Origin]] = field(default_factory=dict)
    clashes: list[tuple[PackageClash, Origin]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def force_field(self, name: str) -> ForceFieldPlugin:
        """Return the adapter called `name`; PluginError suggests the most similar name if there is none."""
        return self._find("adapter", name, self.force_fields)

    def meta_model(self, name: str) -> MetaModelPlugin:
        """Return the meta-model called `name`; PluginError suggests the most similar name if there is none."""
        return self._find("meta-model", name, self.meta_models)

    def preset(self, name: str) -> Preset:
        """Return the preset called `name`; PluginError suggests the most similar name if there is none."""
        return self._find("preset", name, self.presets)

    def environment(self, name: str) -> EnvironmentRecipe:
        """Return the recipe of the environment `name`; PluginError suggests the most similar name if there is none."""
        return self._find("environment", name, self.environments)

    def meta_models_in(self, name: str) -> list[MetaModelPlugin]:
        """Return the meta-models in `name`: one, or several with a plus between them, whose mean is meant.

        PluginError as `meta_model`.
        """
        return [self.meta_model(part) for part in name.split(MIXED)]

    def meta_models_with(self, ability: Literal["maskable", "stress", "conservative"]) -> list[str]:
        """Return the names of the meta-models whose record says that they have `ability`."""
        return [name for name, (plugin, _) in self.meta_models.items() if getattr(plugin, ability)]

    def records(self) -> Iterator[tuple[Kind, Record, Origin]]:
        """Yield adapters and then meta-models, including those whose backend is not installed."""
        for force_field, origin in self.force_fields.values():
            yield "adapter", force_field, origin
        for meta_model, origin in self.meta_models.values():
            yield "meta-model", meta_model, origin

    def origin(self, record: Record) -> Origin | None:
        """Return the origin of `record`, or None if it is not in this registry."""
        return next((origin for _, known, origin in self.records() if known is record), None)

    def add(self, loaded: list[tuple[Kind, Contribution, Origin]]) -> None:
        """Register loaded records; a name that two packages use is given to neither, except that elmlff keeps its own.

        Installing a package must not silently change the meaning of a name in a stack, and the order of loading depends
        only on the names of the packages.  The use of such a name is therefore an error, which names both packages.
        """
        claims: dict[tuple[Kind, str], list[tuple[Named, Origin]]] = defaultdict(list)
        for kind, record, origin in loaded:
            if isinstance(record, PackageClash):
                self.clashes.append((record, origin))  # two packages may report the same clash
            else:
                claims[kind, record.name].append((record, origin))
        for (kind, name), claimants in claims.items():
            own = [claim for claim in claimants if claim[1].distribution == PROJECT]
            winner = claimants[0] if len(claimants) == 1 else own[0] if len(own) == 1 else None
            if winner is not None:
                self._register(*winner)
            for record, origin in claimants:
                if winner is None or record is not winner[0]:
                    reason = _claimed(kind, name, origin, [claim[1] for claim in claimants], winner is not None)
                    self.failures.append(Failure(name, origin, reason, kind=kind))
        self.presets = dict(sorted(self.presets.items(), key=lambda item: item[1][0].order))

    def _register(self, record: Named, origin: Origin) -> None:
        if isinstance(record, ForceFieldPlugin):
            self.force_fields[record.name] = (record, origin)
        elif isinstance(record, MetaModelPlugin):
            self.meta_models[record.name] = (record, origin)
        elif isinstance(record, EnvironmentRecipe):
            self.environments[record.name] = (record, origin)
        else:
            self.presets[record.name] = (record, origin)

    def refuse_failed(self, kind: Kind, name: str) -> None:
        """Raise PluginError if a `kind` called `name` is installed but cannot be used."""
        for failure in self.failures:
            if name == failure.name and failure.kind in (kind, None):
                raise PluginError(f"{kind} '{name}' of {failure.origin} cannot be used: {failure.reason}")

    def _find[Found](self, kind: Kind, name: str, known: dict[str, tuple[Found, Origin]]) -> Found:
        if name in known:
            return known[name][0]
        self.refuse_failed(kind, name)
        broken = ", ".join(sorted({str(failure.origin) for failure in self.failures}))
        hint = f" (plugins of {broken} failed, see `elmlff plugins`)" if broken else ""
        raise PluginError(f"no {kind} is called '{name}'{did_you_mean(name, known)}{hint}")


def _claimed(kind: Kind, name: str, origin: Origin, origins: list[Origin], is_own: bool) -> str:
    places = " and ".join(f"{place} ({place.module})" for place in origins)
    if is_own:
        return f"{kind} '{name}' is offered by {places}: elmlff keeps its own, {origin.distribution} must rename its"
    return f"{kind} '{name}' is offered by {places}: uninstall one of them"


@cache
def registry() -> Registry:
    """Load every installed plugin once, each separately: those of elmlff first, then the others by name."""
    points = [(point, origin_of(point)) for point in entry_points(group=PROJECT)]
    points.sort(key=lambda pair: (pair[1].distribution != PROJECT, pair[1].distribution, pair[0].name, pair[0].value))
    found = Registry()
    loaded: list[tuple[Kind, Contribution, Origin]] = []
    for point, origin in points:
        answer = load_plugin(point, origin)
        if isinstance(answer, Failure):
            found.failures.append(answer)
        else:
            loaded += [(kind, record, origin) for kind, record in answer]
    found.add(loaded)
    return found


def unusable(record: Record, origin: Origin | None = None) -> str:
    """Return why `record` cannot work here, with the command that fixes it, in one line, or "".

    Checks without importing anything whether the modules that it needs can be found, and whether the installed versions
    satisfy the extra of its package.
    """
    origin = origin or registry().origin(record)
    package = origin.distribution if origin else PROJECT
    if missing := missing_requirements(record):
        remedy = _environment_hint(record) or install_hint(record, package)
        return f"{', '.join(missing)} not installed: {remedy}"
    # The requirements of elmlff itself, without any extra, do not belong to one of its plugins.
    has_requirements = record.extra or package != PROJECT
    if has_requirements and (unmet := unmet_versions(package, record.extra)):
        return f"{'; '.join(unmet)}: {install_hint(record, package)}"
    return ""


def _environment_hint(record: Record) -> str:
    """Return the command that makes the environment in which all presets of the adapter `record` run, or ""."""
    presets = [preset for preset, _ in registry().presets.values() if preset.adapter == record.name]
    environments = {preset.environment for preset in presets}
    name = environments.pop() if len(environments) == 1 else ""
    return f"its models run in an environment of their own: elmlff env create {name}" if name else ""


def require(record: Record) -> None:
    """Raise PluginError, with the command that fixes it, if `record` cannot work here."""
    if problem := unusable(record):
        raise PluginError(f"'{record.name}' cannot be used here: {problem}")
