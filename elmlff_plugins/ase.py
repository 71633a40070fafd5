"""Adapter `ase`: any ASE calculator, named as ``module:callable``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ase.data import atomic_numbers
from pydantic import Field, field_validator

from elmlff_core.contracts.hookspecs import ForceFieldPlugin, Options, PackageClash, hookimpl
from elmlff_core.plugins.requirements import own_environment, unmet_versions
from elmlff_plugins.ase_evaluation import ADAPTER, ASEForceField

# Force fields whose calculators users install beside elmlff; their pins are what usually breaks other backends.
NEIGHBOURS = ("mace-torch", "chgnet", "matgl", "sevenn", "nequip", "orb-models", "mattersim", "fairchem-core")


class ASEOptions(Options):
    """Which calculator: ``calculator = "tblite.ase:TBLite"``, and the keyword arguments to make it with.

    A checkpoint, where the model has one, is passed as the argument named by `checkpoint_argument`.  `elements` lists
    the chemical symbols that the calculator knows; without it, any is tried.
    """

    calculator: str = Field(pattern=r"^[\w.]+:[\w.]+$")
    arguments: dict[str, Any] = Field(default_factory=dict)
    elements: list[str] | None = None
    checkpoint_argument: str | None = None

    @field_validator("elements")
    @classmethod
    def _are_symbols(cls, symbols: list[str] | None) -> list[str] | None:
        for symbol in symbols or []:
            if symbol not in atomic_numbers:
                raise ValueError(f"'{symbol}' is no chemical symbol")
        return symbols


@hookimpl
def elmlff_force_fields() -> Iterator[ForceFieldPlugin]:
    """The adapter `ase`."""
    yield ForceFieldPlugin(
        name=ADAPTER,
        summary="any ASE calculator, named as module:callable",
        options=ASEOptions,
        load=ASEForceField,
        standalone="elmlff_plugins.ase_evaluation",
    )


@hookimpl
def elmlff_package_clashes() -> Iterator[PackageClash]:
    """Packages of force fields beside which others changed what they need."""
    for package in NEIGHBOURS:
        yield PackageClash(package, _unmet(package), own_environment(package))


def _unmet(package: str) -> Callable[[], str]:
    return lambda: "\n".join(unmet_versions(package))
