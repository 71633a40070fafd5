"""Records: what a plugin offers, where it comes from, and why it failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elmlff_core.contracts.hookspecs import ForceFieldPlugin, MetaModelPlugin, PackageClash, Preset

Kind = Literal["adapter", "meta-model", "preset", "package clash"]

# What runs: it has options, and may need a backend.
Record = ForceFieldPlugin | MetaModelPlugin
# All that a hook may yield.
Contribution = Record | Preset | PackageClash


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
    """A plugin, or one record of it, that cannot be used.

    Attributes
    ----------
    name : of the entry point, or of the record where that is known
    origin : where it comes from
    reason : one line
    traceback : "" where no exception was raised
    kind : of the record, None for a plugin that failed before it told
    """

    name: str
    origin: Origin
    reason: str
    traceback: str = ""
    kind: Kind | None = None
