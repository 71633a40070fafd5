"""Labels: find reference energies, forces and stresses on ASE structures, and refuse what cannot be learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.stress import full_3x3_to_voigt_6_stress

from elmlff_core.data.dataset import Dataset
from elmlff_core.errors import DataError


@dataclass(frozen=True)
class LabelKeys:
    """Names of the labels in the files; None looks for ``REF_energy``/``REF_forces``, then ``energy``/``forces``."""

    energy: str | None = None
    forces: str | None = None


def dataset_from_structures(structures: Sequence[Atoms], source: str, keys: LabelKeys | None = None) -> Dataset:
    """Structures with their labels as a checked Dataset.

    Parameters
    ----------
    structures : with labels in ``arrays``/``info`` or on a single-point calculator
    source : where they came from, for messages
    keys : names of the labels, where they are not the usual ones

    Raises
    ------
    DataError
        No structures; no force labels on one; forces of the wrong shape; NaN or infinite labels or positions.
    """
    if not structures:
        raise DataError(f"{source} holds no structures")
    keys = keys or LabelKeys()
    forces = [_forces(atoms, index, source, keys) for index, atoms in enumerate(structures)]
    energies = [_energy(atoms, index, source, keys) for index, atoms in enumerate(structures)]
    stresses = [_stress(atoms) for atoms in structures]
    return checked(
        Dataset(
            structures=[bare(atoms) for atoms in structures],
            forces=forces,
            energy=None if any(value is None for value in energies) else np.array(energies, dtype=np.float64),
            stress=None if any(value is None for value in stresses) else np.array(stresses, dtype=np.float64),
            source=source,
        )
    )


def bare(atoms: Atoms) -> Atoms:
    """Elements, positions, cell and periodicity alone: labels must not travel with what force fields see."""
    return Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def checked(dataset: Dataset) -> Dataset:
    """Self, once every array fits and is finite; DataError names source, structure and atom."""
    if not len(dataset):
        raise DataError(f"{dataset.source} holds no structures")
    for index, (atoms, forces) in enumerate(zip(dataset.structures, dataset.forces, strict=True)):
        where = f"structure {index} of {dataset.source}"
        if len(atoms) == 0:
            raise DataError(f"{where} has no atoms")
        if forces.shape != (len(atoms), 3):
            raise DataError(f"{where} has {len(atoms)} atoms but forces of shape {forces.shape}")
        for name, array in (("positions", atoms.positions), ("force labels", forces)):
            if not np.isfinite(array).all():
                atom = int(np.argwhere(~np.isfinite(array))[0][0])
                raise DataError(f"{where} has non-finite {name} on atom {atom}: remove or repair that structure")
    for name, values in (("energy", dataset.energy), ("stress", dataset.stress)):
        if values is not None and not np.isfinite(values).all():
            index = int(np.argwhere(~np.isfinite(values))[0][0])
            raise DataError(f"structure {index} of {dataset.source} has a non-finite {name} label")
    return dataset


def _forces(atoms: Atoms, index: int, source: str, keys: LabelKeys) -> np.ndarray:
    names = (keys.forces,) if keys.forces else ("REF_forces", "forces")
    for name in names:
        if name in atoms.arrays:
            return np.array(atoms.arrays[name], dtype=np.float64)
    if "forces" in names and (found := _from_calculator(atoms, "forces")) is not None:
        return np.array(found, dtype=np.float64)
    raise DataError(
        f"structure {index} of {source} has no force labels under {' or '.join(names)}; per-atom arrays there: "
        f"{', '.join(sorted(set(atoms.arrays) - {'numbers', 'positions'})) or 'none'}; name yours with --forces-key"
    )


def _energy(atoms: Atoms, index: int, source: str, keys: LabelKeys) -> float | None:
    names = (keys.energy,) if keys.energy else ("REF_energy", "energy")
    for name in names:
        if name in atoms.info:
            return float(atoms.info[name])
    if "energy" in names:
        return _from_calculator(atoms, "energy")
    if keys.energy:
        raise DataError(
            f"structure {index} of {source} has no '{keys.energy}'; info keys there: "
            f"{', '.join(sorted(atoms.info)) or 'none'}"
        )
    return None


def _stress(atoms: Atoms) -> np.ndarray | None:
    found = atoms.info.get("REF_stress", atoms.info.get("stress"))
    if found is None:
        found = _from_calculator(atoms, "stress")
    if found is None:
        return None
    found = np.asarray(found, dtype=np.float64)
    return found if found.shape == (6,) else full_3x3_to_voigt_6_stress(found.reshape(3, 3))


def _from_calculator(atoms: Atoms, name: str):  # type: ignore[no-untyped-def]  # float or array, as the property is
    """A label that the file format put on a single-point calculator; never computed here."""
    if atoms.calc is None:
        return None
    try:
        if name == "forces":  # a slab's fixed atoms have forces too
            return atoms.get_forces(apply_constraint=False)
        return atoms.calc.get_property(name, atoms, allow_calculation=False)
    except PropertyNotImplementedError:
        return None
