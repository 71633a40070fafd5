"""Find reference energies, forces and stresses on ASE structures, and refuse labels that cannot be used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.stress import full_3x3_to_voigt_6_stress

from elmlff_core.arrays import GrowingArray
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.structures import GrowingStructures, check_geometry
from elmlff_core.errors import DataError

# No energy, force or stress is larger; squares of larger numbers have no place in the float32 of trainings.
LARGEST_LABEL = 1e10  # eV, eV/Å, eV/Å³


@dataclass(frozen=True)
class LabelKeys:
    """Names of the labels in the files; None means ``REF_energy``/``REF_forces``, then ``energy``/``forces``."""

    energy: str | None = None
    forces: str | None = None


def dataset_from_structures(structures: Iterable[Atoms], source: str, keys: LabelKeys | None = None) -> Dataset:
    """Make a checked Dataset from structures with labels.

    Parameters
    ----------
    structures : with labels in ``arrays``/``info`` or on a single-point calculator; may be an iterator
    source : where they came from, for messages
    keys : names of the labels, if they are not the usual ones

    Raises
    ------
    DataError
        There are no structures; a structure has no force labels; forces have the wrong shape; labels or positions are
        NaN or infinite.
    """
    keys = keys or LabelKeys()
    growing = GrowingDataset(source)
    for index, atoms in enumerate(structures):
        where = f"structure {index} of {source}"
        growing.append(atoms, _forces(atoms, where, keys), _energy(atoms, where, keys), _stress(atoms, where))
    return growing.whole()


class GrowingDataset:
    """Labelled structures collected by appending; each is checked when it is appended."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.structures, self.forces = GrowingStructures(), GrowingArray((3,), np.float64)
        self.energies: list[float | None] = []
        self.stresses: list[np.ndarray | None] = []

    def append(self, atoms: Atoms, forces: np.ndarray, energy: float | None, stress: np.ndarray | None) -> None:
        """Append one structure with its labels.

        Raises
        ------
        DataError
            A shape is wrong, or a value is not finite; the message names the source, the structure and the atom.
        """
        where = f"structure {len(self.energies)} of {self.source}"
        if len(atoms) == 0:
            raise DataError(f"{where} has no atoms")
        if forces.shape != (len(atoms), 3):
            raise DataError(f"{where} has {len(atoms)} atoms but forces of shape {forces.shape}")
        for name, array in (("positions", atoms.positions), ("force labels", forces)):
            if not np.isfinite(array).all():
                atom = int(np.argwhere(~np.isfinite(array))[0][0])
                raise DataError(f"{where} has non-finite {name} on atom {atom}: remove or repair that structure")
        for name, value in (("energy", energy), ("stress", stress), ("force", forces)):
            if value is not None and not np.isfinite(value).all():
                raise DataError(f"{where} has a non-finite {name} label: remove or repair that structure")
            if value is not None and np.abs(value).max() > LARGEST_LABEL:
                raise DataError(
                    f"{where} has the {name} label {np.abs(value).max():g}, more than {LARGEST_LABEL:g} eV, eV/Å or "
                    "eV/Å³: repair or remove that structure"
                )
        check_geometry([atoms], len(self.energies), self.source)
        self.structures.append(atoms)
        self.forces.append(forces)
        self.energies.append(energy)
        self.stresses.append(stress)

    def whole(self) -> Dataset:
        """Return the dataset.

        It has energies only if all structures have them, and NaN as the stress of structures without one.

        Raises
        ------
        DataError
            It is empty, or only some structures have energies.
        """
        if not self.energies:
            raise DataError(f"{self.source} holds no structures")
        return Dataset(
            structures=self.structures.whole(),
            forces=self.forces.whole(),
            energy=self._energy_labels(),
            stress=self._stress_labels(),
            source=self.source,
        )

    def _energy_labels(self) -> np.ndarray | None:
        """Energies of all structures; None where none has one, DataError where some have."""
        missing = [index for index, value in enumerate(self.energies) if value is None]
        if 0 < len(missing) < len(self.energies):
            raise DataError(
                f"{len(missing)} of {len(self.energies)} structures of {self.source} have no energy label, the first "
                f"is structure {missing[0]}: add them, or remove those structures"
            )
        return None if missing else np.array(self.energies, dtype=np.float64)

    def _stress_labels(self) -> np.ndarray | None:
        """Stresses of all structures, NaN for those without one; None where none has one."""
        if all(value is None for value in self.stresses):
            return None
        unknown = np.full(6, np.nan)
        return np.array([unknown if value is None else value for value in self.stresses], dtype=np.float64)


def bare(atoms: Atoms) -> Atoms:
    """Copy elements, positions, cell and periodicity alone: force fields must not get structures with labels."""
    return Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _numbers(value: Any, name: str, where: str) -> np.ndarray:
    """Return a label as float64, of whatever shape; DataError if it is not made of numbers."""
    try:
        found = np.asarray(value)
        if found.dtype.kind in "iuf":
            return found.astype(np.float64)
    except ValueError:  # lists of different lengths
        pass
    raise DataError(f"{where} has the {name} label {str(value)[:60]!r}, expected numbers: repair it")


def _forces(atoms: Atoms, where: str, keys: LabelKeys) -> np.ndarray:
    names = (keys.forces,) if keys.forces else ("REF_forces", "forces")
    for name in names:
        if name in atoms.arrays:
            return _numbers(atoms.arrays[name], name, where)
    if "forces" in names and (found := _from_calculator(atoms, "forces")) is not None:
        return _numbers(found, "forces", where)
    raise DataError(
        f"{where} has no force labels under {' or '.join(names)}; its per-atom arrays: "
        f"{', '.join(sorted(set(atoms.arrays) - {'numbers', 'positions'})) or 'none'}; name yours with --forces-key"
    )


def _energy(atoms: Atoms, where: str, keys: LabelKeys) -> float | None:
    names = (keys.energy,) if keys.energy else ("REF_energy", "energy")
    found = next((atoms.info[name] for name in names if name in atoms.info), None)
    if found is None and "energy" in names:
        found = _from_calculator(atoms, "energy")
    if found is None and keys.energy:
        raise DataError(
            f"{where} has no '{keys.energy}'; its info keys: {', '.join(sorted(map(str, atoms.info))) or 'none'}"
        )
    if found is None:
        return None
    number = _numbers(found, "energy", where)
    if number.size != 1:
        raise DataError(f"{where} has {number.size} numbers as its energy label, expected one: repair it")
    return float(number.item())


def _stress(atoms: Atoms, where: str) -> np.ndarray | None:
    found = atoms.info.get("REF_stress", atoms.info.get("stress"))
    if found is None:
        found = _from_calculator(atoms, "stress")
    if found is None:
        return None
    stress = _numbers(found, "stress", where)
    if stress.shape == (6,):
        return stress
    if stress.shape not in ((9,), (3, 3)):
        raise DataError(f"{where} has a stress label of shape {stress.shape}, expected 6 or 3 x 3 numbers: repair it")
    return np.asarray(full_3x3_to_voigt_6_stress(stress.reshape(3, 3)))


def _from_calculator(atoms: Atoms, name: str):  # type: ignore[no-untyped-def]  # float or array, as the property is
    """Return a label that the reader stored on a single-point calculator; nothing is computed."""
    if atoms.calc is None:
        return None
    try:
        if name == "forces":  # also the forces on the fixed atoms of a slab
            return atoms.get_forces(apply_constraint=False)
        return atoms.calc.get_property(name, atoms, allow_calculation=False)
    except PropertyNotImplementedError:
        return None
