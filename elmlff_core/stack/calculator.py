"""StackCalculator: a stack as an ASE calculator."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from elmlff_core.contracts.features import Features
from elmlff_core.plugins.registry import registry
from elmlff_core.stack.outside import OutOfDomainWarning, outside_warning
from elmlff_core.stack.stack import Stack, StackPrediction, load_stack

UNCERTAINTIES = ("forces_std", "energy_std", "outside")
NO_ENERGY = (
    "this stack has no energy, and no stress: no base model gives energies, or it was fitted to structures without "
    "reference energies"
)


class StackResults(dict):
    """Results of a calculation as a dict that lists only properties of ASE; others are found by their key.

    ASE rejects results that are not its own properties: ``calc.export_properties()`` and the common
    ``SinglePointCalculator(atoms, **calc.results)`` fail if such a result is listed.

    Parameters
    ----------
    known : properties of ASE
    unlisted : other results
    """

    def __init__(self, known: dict[str, Any], unlisted: dict[str, Any]) -> None:
        super().__init__(known)
        self.unlisted = unlisted

    def __missing__(self, key: str) -> Any:
        return self.unlisted[key]


class StackCalculator(Calculator):
    """ASE calculator of a stack.

    ``forces`` (n_atoms, 3) in eV/Å are predicted by the stack.  ``energy`` and ``free_energy`` in eV are available if
    the base models give energies.  A meta-model that learns only forces has as energy the linear combination of the
    aligned energies of the base models.  Its forces are not the gradient of this energy, so molecular dynamics does not
    conserve it.  With ``ace``, ``conservative``, ``conservative-ace`` and ``mean`` they are its negative gradient.

    ``stress`` (6,) in eV/Å³ is available with these, ``egat-ace`` and ``linear``, if every base model gives it and the
    structure is periodic in all directions.  It is the derivative of the energy by the strain of the cell.

    A stack with calibrated uncertainties also has ``forces_std`` (n_atoms,) in eV/Å, the standard deviation of each
    force component, and, if there are energies, ``energy_std`` in eV.  Read them with
    ``calc.get_property("forces_std", atoms)`` or ``calc.results["forces_std"]``.  The writers of ASE do not write them;
    to store them in a file, copy them to ``atoms.arrays`` and ``atoms.info``.

    ``outside`` (n_atoms,) says how far each atom is from what the stack was fitted on; above 1 it is outside.  The
    first time that an atom is, the calculator gives an `OutOfDomainWarning` with the atoms and the reason.

    A calculator can be copied with ``copy.deepcopy`` and pickled.  The copy loads its base models again when it first
    predicts, from the same checkpoints, and starts workers of its own; a pickle therefore needs the same files and
    plugins where it is read.

    Parameters
    ----------
    stack : a loaded stack, or the folder of a stack
    trust : as for `load_stack`, if `stack` is a folder
    warn : whether it gives the warning; False where something else looks at ``outside``

    Attributes
    ----------
    warn : whether a warning may still come
    features, prediction : predictions of the base models and of the stack for the structure of ``results``; None before
        the first calculation
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, stack: Stack | str | Path, trust: bool = False, warn: bool = True, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.stack = stack if isinstance(stack, Stack) else load_stack(stack, trust)
        self.warn = warn
        self.features: Features | None = None
        self.prediction: StackPrediction | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("forces",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute ``results`` for `atoms`.

        Raises ElmlffError if a base model or the meta-model cannot be applied to them.
        """
        super().calculate(atoms, properties, system_changes)
        self.features = self.stack.features([self.atoms])
        self.prediction = found = self.stack.combine(self.features)
        if self.warn and (warning := outside_warning(self.stack, found)):
            self.warn = False
            warnings.warn(f"{warning}. This calculator does not say it again", OutOfDomainWarning, stacklevel=2)
        known = found.results_of(0)
        if "energy" in known:
            known["free_energy"] = known["energy"]
        unlisted: dict[str, Any] = {}
        if found.forces_std is not None:
            unlisted["forces_std"] = found.forces_std
        if found.outside is not None:
            unlisted["outside"] = found.outside
        if found.energy_std is not None:
            unlisted["energy_std"] = float(found.energy_std[0])
        self.results = StackResults(known, unlisted)

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """Return a property of ASE, or ``forces_std``, ``energy_std`` or ``outside``.

        Raises PropertyNotImplementedError if the stack has no such property; the message has the reason.
        """
        if name not in UNCERTAINTIES:
            return self._known_property(name, atoms, allow_calculation)
        if super().get_property("forces", atoms, allow_calculation) is None:
            return None
        if name not in self.results.unlisted:
            raise PropertyNotImplementedError(f"this stack has no {name}: it was saved without this uncertainty")
        value = self.results.unlisted[name]
        return value.copy() if isinstance(value, np.ndarray) else value

    def _known_property(self, name: str, atoms: Atoms | None, allow_calculation: bool) -> Any:
        try:
            return super().get_property(name, atoms, allow_calculation)
        except PropertyNotImplementedError as error:
            if self.atoms is not None and name == "stress":
                raise PropertyNotImplementedError(why_no_stress(self.stack, self.atoms)) from error
            if name in ("energy", "free_energy"):
                raise PropertyNotImplementedError(NO_ENERGY) from error
            raise


def why_no_stress(stack: Stack, atoms: Atoms) -> str:
    """Return the reason why `stack` gives no stress of `atoms`, and what to do about it."""
    if not atoms.pbc.all():
        periodic = ", ".join(axis for axis, is_periodic in zip("abc", atoms.pbc, strict=True) if is_periodic)
        return f"stress needs a structure that is periodic in all directions, this one is in {periodic or 'none'}"
    if not any(plugin.stress for plugin in registry().meta_models_in(stack.meta_name)):
        names = registry().meta_models_with("stress")
        return (
            f"the meta-model '{stack.meta_name}' of this stack gives no stress; these do: "
            f"{', '.join(map(repr, names))}. Stack again with one of them, as with --meta conservative"
        )
    given = stack.features([atoms]).stresses
    if missing := [name for name in stack.names if name not in given]:
        return f"stress needs that of every base model, and {', '.join(missing)} gives none: leave it out of the stack"
    return NO_ENERGY
