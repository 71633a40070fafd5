"""StackCalculator: a stack wherever an ASE calculator runs."""

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
    """Results that ASE has names for, as a dict; those that it has none for are found by key, but not listed.

    ASE refuses results that it does not know: ``calc.export_properties()`` and the common
    ``SinglePointCalculator(atoms, **calc.results)`` fail where any is listed.

    Parameters
    ----------
    known : ASE's own properties
    unlisted : the others
    """

    def __init__(self, known: dict[str, Any], unlisted: dict[str, Any]) -> None:
        super().__init__(known)
        self.unlisted = unlisted

    def __missing__(self, key: str) -> Any:
        return self.unlisted[key]


class StackCalculator(Calculator):
    """ASE calculator of a stack.

    ``forces`` (n_atoms, 3) in eV/Å are the stack's.  ``energy`` and ``free_energy`` in eV are given where the base
    models give energies.  The forces of a meta-model that learns forces alone are not the gradient of that energy,
    which is the linear combination of the base models' aligned energies: do not expect it to be conserved in molecular
    dynamics.  With ``conservative`` it is the stack's own energy, forces are its gradient, and ``stress`` (6,) in eV/Å³
    is given where every base model gives it and the structure is periodic.

    A stack with calibrated uncertainties also gives ``forces_std`` (n_atoms,) in eV/Å, the standard deviation of each
    force component, and, where there are energies, ``energy_std`` in eV: by ``calc.get_property("forces_std", atoms)``
    or ``calc.results["forces_std"]``.  ASE's writers leave them out; to keep them in a file, put them into
    ``atoms.arrays`` and ``atoms.info``.

    Parameters
    ----------
    stack : a loaded stack, or the folder of one
    trust : as for `load_stack`, where `stack` is a folder
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
        """Fill ``results`` for `atoms`; ElmlffError where a base model or the meta-model cannot take them."""
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
        """As ASE's, and ``forces_std`` and ``energy_std`` too.

        PropertyNotImplementedError where the stack has no such uncertainty.
        """
        if name not in UNCERTAINTIES:
            return super().get_property(name, atoms, allow_calculation)
        if super().get_property("forces", atoms, allow_calculation) is None:
            return None
        if name not in self.results.unlisted:
            raise PropertyNotImplementedError(f"this stack has no {name}: it was saved without such uncertainties")
        value = self.results.unlisted[name]
        return value.copy() if isinstance(value, np.ndarray) else value
