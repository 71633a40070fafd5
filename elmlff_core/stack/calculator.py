"""StackCalculator: a stack as an ASE calculator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from elmlff_core.stack.stack import Stack, load_stack

UNCERTAINTIES = ("forces_std", "energy_std")


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
    conserve it.  With ``conservative``, the energy is that of the stack and the forces are its negative gradient;
    ``stress`` (6,) in eV/Å³ is available if every base model gives it and the structure is periodic.

    A stack with calibrated uncertainties also has ``forces_std`` (n_atoms,) in eV/Å, the standard deviation of each
    force component, and, if there are energies, ``energy_std`` in eV.  Read them with
    ``calc.get_property("forces_std", atoms)`` or ``calc.results["forces_std"]``.  The writers of ASE do not write them;
    to store them in a file, copy them to ``atoms.arrays`` and ``atoms.info``.

    Parameters
    ----------
    stack : a loaded stack, or the folder of a stack
    trust : as for `load_stack`, if `stack` is a folder
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, stack: Stack | str | Path, trust: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.stack = stack if isinstance(stack, Stack) else load_stack(stack, trust)

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
        found = self.stack.predict([self.atoms])
        known: dict[str, Any] = {"forces": found.forces}
        if found.energy is not None:
            known["energy"] = known["free_energy"] = float(found.energy[0])
        if found.stress is not None:
            known["stress"] = found.stress[0]
        unlisted: dict[str, Any] = {}
        if found.forces_std is not None:
            unlisted["forces_std"] = found.forces_std
        if found.energy_std is not None:
            unlisted["energy_std"] = float(found.energy_std[0])
        self.results = StackResults(known, unlisted)

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """Return a property of ASE, or ``forces_std`` or ``energy_std``.

        Raises PropertyNotImplementedError if the stack has no such uncertainty.
        """
        if name not in UNCERTAINTIES:
            return super().get_property(name, atoms, allow_calculation)
        if super().get_property("forces", atoms, allow_calculation) is None:
            return None
        if name not in self.results.unlisted:
            raise PropertyNotImplementedError(f"this stack has no {name}: it was saved without this uncertainty")
        value = self.results.unlisted[name]
        return value.copy() if isinstance(value, np.ndarray) else value
