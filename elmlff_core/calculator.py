"""StackCalculator: a stack wherever an ASE calculator runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from elmlff_core.stack_folder import Stack, load_stack


class StackCalculator(Calculator):
    """ASE calculator of a stack.

    ``forces`` (n_atoms, 3) in eV/Å are the stack's.  ``energy`` and ``free_energy`` in eV are given where the bases
    give energies.  The forces of a meta-model that learns forces alone are not the gradient of that energy, which is
    the linear mix of the bases' aligned energies: do not expect it to be conserved in molecular dynamics.

    Parameters
    ----------
    stack : a loaded stack, or the folder of one
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(self, stack: Stack | str | Path, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.stack = stack if isinstance(stack, Stack) else load_stack(stack)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("forces",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill ``results`` for `atoms`; ElmlffError where a base or the meta-model cannot take them."""
        super().calculate(atoms, properties, system_changes)
        prediction = self.stack.predict([self.atoms])
        self.results["forces"] = prediction.forces
        if prediction.energy is not None:
            self.results["energy"] = self.results["free_energy"] = float(prediction.energy[0])
