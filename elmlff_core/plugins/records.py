"""Records of plugins: what a plugin provides, its origin, and the reason why it failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elmlff_core.contracts.hookspecs import EnvironmentRecipe, ForceFieldPlugin, MetaModelPlugin, PackageClash, Preset

Kind = Literal["adapter", "meta-model", "preset", "environment", "package clash"]

# Records of models, which have options and may need a backend.
Record = ForceFieldPlugin | MetaModelPlugin
# Records that are called by a name of their kind.
Named = Record | Preset | EnvironmentRecipe
# All types that a hook may yield.
Contribution = Named | PackageClash


@dataclass(frozen=True)
class Origin:
    """The origin of a plugin: its distribution, the version, and the module."""

    distribution: str
    version: str
    module: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".strip()


@dataclass(frozen=True)
class Failure:
    """A plugin, or one record of it, that cannot be used.

    Attributes
    ----------
    name : name of the entry point, or of the record where that is known
    origin : the plugin's origin
    reason : one line
    traceback : "" if no exception was raised
    kind : kind of the record, or None if the plugin failed before it was known
    """

    name: str
    origin: Origin
    reason: str
    traceback: str = ""
    kind: Kind | None = None
