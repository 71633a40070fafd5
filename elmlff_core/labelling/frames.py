"""Labels of one structure, and structures without the labels that they had before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator

from elmlff_core.errors import DataError
from elmlff_core.labelling.calculators import runs_a_program
from elmlff_core.simulation.output import ADDED_ARRAYS

OLD_ARRAYS = {"forces", "REF_forces", "momenta", *ADDED_ARRAYS}
OLD_INFO = {
    "energy", "REF_energy", "stress", "REF_stress", "energy_uncertainty", "energy_comm", "energy_var",
}  # fmt: skip


@dataclass(frozen=True)
class Labels:
    """Labels of one structure.

    Attributes
    ----------
    energy : eV
    forces : (n_atoms, 3) float64, eV/Å, without constraints
    stress : (6,) float64, eV/Å³, ASE's Voigt order and sign, or None
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None = None

    def checked(self, n_atoms: int) -> Labels:
        """Return them; DataError if a shape is wrong or a number is not finite."""
        if self.forces.shape != (n_atoms, 3):
            raise DataError(f"forces have the shape {self.forces.shape}, expected ({n_atoms}, 3)")
        for name, value in (("energy", self.energy), ("forces", self.forces), ("stress", self.stress)):
            if value is not None and not np.isfinite(value).all():
                raise DataError(f"{name} is not finite")
        return self


def unlabelled(atoms: Atoms) -> Atoms:
    """Return a copy without labels and without what a stack predicted; charges, moments and ``info`` stay."""
    copy = atoms.copy()
    for name in OLD_ARRAYS & set(copy.arrays):
        del copy.arrays[name]
    for name in OLD_INFO & set(copy.info):
        del copy.info[name]
    return copy


def labelled(atoms: Atoms, labels: Labels) -> Atoms:
    """Return a copy with labels on a single-point calculator."""
    copy = atoms.copy()
    results = {"energy": labels.energy, "forces": labels.forces}
    if labels.stress is not None:
        results["stress"] = labels.stress
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


def compute(atoms: Atoms, calculator: Any, folder: Path) -> Labels:
    """Compute the labels of a structure; exceptions of the calculator are its failure.

    A calculator that runs a program does so in `folder`.
    """
    copy = atoms.copy()
    if callable(reset := getattr(calculator, "reset", None)):
        reset()  # results must not depend on the structure before
    if runs_a_program(calculator):
        folder.mkdir(parents=True, exist_ok=True)
        calculator.directory = str(folder)
    copy.calc = calculator
    forces = np.array(copy.get_forces(apply_constraint=False), dtype=np.float64)
    energy = float(copy.get_potential_energy())
    stress = None
    if copy.cell.rank == 3 and copy.pbc.all() and "stress" in getattr(calculator, "implemented_properties", ()):
        try:
            stress = np.array(copy.get_stress(apply_constraint=False), dtype=np.float64)
        except PropertyNotImplementedError:  # with these options it has none
            stress = None
    return Labels(energy, forces, stress).checked(len(atoms))
