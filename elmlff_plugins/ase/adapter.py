"""Adapter `ase`: any ASE calculator, named as ``module:callable``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from elmlff_core.contracts.hookspecs import ForceFieldPlugin, LoadRequest, PackageClash, hookimpl
from elmlff_core.plugins.registry import registry
from elmlff_core.plugins.requirements import own_environment, unmet_versions
from elmlff_plugins import references
from elmlff_plugins.ase.evaluation import ADAPTER, ASEForceField
from elmlff_plugins.ase.options import ASEOptions

# Packages of force fields that users install together with elmlff; their version pins often break other backends.
NEIGHBOURS = ("mace-torch", "chgnet", "matgl", "sevenn", "nequip", "orb-models", "mattersim", "fairchem-core")


# Calculators of ASE that compute in Python and take numbers alone: they run no other program and open no file.
HARMLESS = ("ase.calculators.emt:EMT", "ase.calculators.lj:LennardJones", "ase.calculators.morse:MorsePotential")


def named_callable(request: LoadRequest) -> list[str]:
    """The callable that the options name, unless it is a harmless one with numbers as arguments or that of a preset."""
    options: ASEOptions = request.options
    numbers = all(isinstance(value, (bool, int, float)) for value in options.arguments.values())
    if request.checkpoint is None and ((options.calculator in HARMLESS and numbers) or _is_of_a_preset(options)):
        return []
    return [f"the callable {options.calculator}"]


def _is_of_a_preset(options: ASEOptions) -> bool:
    """Whether calculator and arguments are those of a preset: what an installed plugin offers is trusted as it is."""
    presets = [preset for preset, _ in registry().presets.values() if preset.adapter == ADAPTER]
    return any(
        (preset.options.get("calculator"), preset.options.get("arguments", {}))
        == (options.calculator, options.arguments)
        for preset in presets
    )


@hookimpl
def elmlff_force_fields() -> Iterator[ForceFieldPlugin]:
    """The adapter `ase`."""
    yield ForceFieldPlugin(
        name=ADAPTER,
        summary="any ASE calculator, named as module:callable",
        options=ASEOptions,
        load=ASEForceField,
        standalone="elmlff_plugins.ase.evaluation",
        runs=named_callable,
        citation=(references.ASE,),
    )


@hookimpl
def elmlff_package_clashes() -> Iterator[PackageClash]:
    """Packages of force fields whose requirements another package has changed."""
    for package in NEIGHBOURS:
        yield PackageClash(package, _unmet(package), own_environment(package))


def _unmet(package: str) -> Callable[[], str]:
    return lambda: "\n".join(unmet_versions(package))
