"""Plugins: what is installed, what failed, and look-up by name with "did you mean".

Every entry point of the group ``elmlff`` is loaded on its own (`elmlff_core.plugins.loading`).  One that raises, or
whose hooks do not fit, is kept as a failure with its reason; it never breaks another command.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points

from elmlff_core.contracts.hookspecs import PROJECT, ForceFieldPlugin, MetaModelPlugin, PackageClash, Preset
from elmlff_core.errors import PluginError, did_you_mean
from elmlff_core.plugins.loading import load_plugin, origin_of
from elmlff_core.plugins.records import Contribution, Failure, Kind, Origin, Record
from elmlff_core.plugins.requirements import install_hint, missing_requirements, unmet_versions


@dataclass
class Registry:
    """What the installed plugins offer, and which of them failed.

    Attributes
    ----------
    force_fields, meta_models, presets : name -> what is called so, and where it comes from
    clashes : of packages, that plugins know of
    failures : plugins, and single records of them, that cannot be used
    """

    force_fields: dict[str, tuple[ForceFieldPlugin, Origin]] = field(default_factory=dict)
    meta_models: dict[str, tuple[MetaModelPlugin, Origin]] = field(default_factory=dict)
    presets: dict[str, tuple[Preset, Origin]] = field(default_factory=dict)
    clashes: list[tuple[PackageClash, Origin]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def force_field(self, name: str) -> ForceFieldPlugin:
        """The adapter called `name`; PluginError, with the nearest name, where there is none."""
        return self._find("adapter", name, self.force_fields)

    def meta_model(self, name: str) -> MetaModelPlugin:
        """The meta-model called `name`; PluginError, with the nearest name, where there is none."""
        return self._find("meta-model", name, self.meta_models)

    def preset(self, name: str) -> Preset:
        """The preset called `name`; PluginError, with the nearest name, where there is none."""
        return self._find("preset", name, self.presets)

    def records(self) -> Iterator[tuple[Kind, Record, Origin]]:
        """Adapters and then meta-models, those too that lack only their backend."""
        for force_field, origin in self.force_fields.values():
            yield "adapter", force_field, origin
        for meta_model, origin in self.meta_models.values():
            yield "meta-model", meta_model, origin

    def origin(self, record: Record) -> Origin | None:
        """Where `record` comes from, None where it is not of this registry."""
        return next((origin for _, known, origin in self.records() if known is record), None)

    def add(self, loaded: list[tuple[Kind, Contribution, Origin]]) -> None:
        """Register what was loaded; a name that two packages claim goes to neither, except that elmlff keeps its own.

        Which of two outside packages came first would depend on the spelling of their names: installing one must not
        silently change what a stack means, so that using such a name is an error that names both.
        """
        claims: dict[tuple[Kind, str], list[tuple[Record | Preset, Origin]]] = defaultdict(list)
        for kind, record, origin in loaded:
            if isinstance(record, PackageClash):
                self.clashes.append((record, origin))  # two packages may know the same clash
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

    def _register(self, record: Record | Preset, origin: Origin) -> None:
        if isinstance(record, ForceFieldPlugin):
            self.force_fields[record.name] = (record, origin)
        elif isinstance(record, MetaModelPlugin):
            self.meta_models[record.name] = (record, origin)
        else:
            self.presets[record.name] = (record, origin)

    def refuse_failed(self, kind: Kind, name: str) -> None:
        """PluginError where a `kind` called `name` is offered and cannot be used."""
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
    """Load every installed plugin once, each on its own; elmlff's own first, the others by name."""
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
    """Why `record` cannot work here, in one line with the line that mends it, or "": found without importing anything.

    Looks whether the modules it needs can be found, and whether the versions that its package's extra asks for are
    those installed.
    """
    origin = origin or registry().origin(record)
    package = origin.distribution if origin else PROJECT
    if missing := missing_requirements(record):
        return f"{', '.join(missing)} not installed: {install_hint(record, package)}"
    # What elmlff needs without any extra is no matter of one of its plugins.
    asks = record.extra or package != PROJECT
    if asks and (unmet := unmet_versions(package, record.extra)):
        return f"{'; '.join(unmet)}: {install_hint(record, package)}"
    return ""


def require(record: Record) -> None:
    """Raise PluginError with the install line where `record` cannot work here."""
    if problem := unusable(record):
        raise PluginError(f"'{record.name}' cannot be used here: {problem}")
