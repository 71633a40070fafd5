"""Units of labels: find labels that are not in eV and eV/Å, from the labels alone.

A stack of base models that were trained on labels in other units has small errors in those units, which read like very
small errors in eV/Å.  Three facts that do not depend on any model tell the units:

- a bond of hydrogen to carbon, nitrogen or oxygen has nearly the same force constant in all molecules;
- between similar structures the energy changes by the forces times the displacements;
- no structure has a lower energy than all its electrons and nuclei together.

Each check is silent where the data do not have such structures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.data import chemical_symbols

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.data.structure_distance import key
from elmlff_core.errors import DataError

N_STRUCTURES = 200  # of a large dataset these are enough
MOLE = 1 / units.mol
# Name of a unit -> its size in eV/Å or eV.
FORCE_UNITS = {
    "Hartree/Bohr": units.Hartree / units.Bohr,
    "kcal/mol/Å": units.kcal * MOLE,
    "Rydberg/Bohr": units.Rydberg / units.Bohr,
    "kJ/mol/Å": units.kJ * MOLE,
    "Hartree/Å": units.Hartree,
    "Rydberg/Å": units.Rydberg,
    "meV/Å": 1e-3,
}
ENERGY_UNITS = {
    "Hartree": units.Hartree,
    "kcal/mol": units.kcal * MOLE,
    "Rydberg": units.Rydberg,
    "kJ/mol": units.kJ * MOLE,
    "meV": 1e-3,
}
STRESS_UNITS = {
    "GPa": units.GPa,
    "kbar": 0.1 * units.GPa,
    "Hartree/Bohr³": units.Hartree / units.Bohr**3,
    "meV/Å³": 1e-3,
}
REMEDY = "elmlff needs eV, eV/Å and eV/Å³. Convert the labels; if they are right, set data.check_units = false"

# Force constants of the stretching of a bond to hydrogen, eV/Å² (5 to 8 mdyn/Å).
STIFFNESS = {6: 30.0, 7: 42.0, 8: 50.0}
LONGEST_BOND = 1.3  # Å
LEAST_CORRELATION = 0.7  # of force and length: lower if other forces dominate
LEAST_BONDS = 30
LEAST_SPREAD = 0.002  # Å; a standard deviation below it is that of bonds with fixed lengths
NOT_STIFF = 4.0  # ratio to the usual force constant; anharmonic and strained bonds stay within it
SAME_UNIT_OF_BONDS = 1.5  # ratio within which a force constant tells a unit

# For a harmonic potential, the mean force times the displacement is exactly the difference of energies.
LARGEST_DISPLACEMENT, LEAST_DISPLACEMENT = 0.3, 1e-3  # Å
LARGEST_OF_STIFFNESS = 1.0  # Å; a rough force constant needs no harmonic potential
# Solids and molecules have 1 to 60 eV/Å² along the displacements between their samples, most of them 3 to 20.
USUAL_STIFFNESS = 8.0
N_PAIRS, LEAST_PAIRS = 1000, 10
N_WINDOWS, WINDOW = 10, 300
PAIR_CORRELATION = 0.95
SAME_UNIT_OF_PAIRS = 1.15


@dataclass(frozen=True)
class Slope:
    """The slope of one quantity against another that it should equal, their correlation, and how many there are."""

    slope: float
    correlation: float
    n: int


def check_units(dataset: Dataset) -> None:
    """Refuse labels that are in other units than eV and eV/Å, as far as the labels themselves tell.

    Raises
    ------
    DataError
        They are not; the message names the unit and the evidence.
    """
    for find in (_force_unit_by_bonds, _unit_by_pairs, _energy_unit_by_size):
        if (found := find(dataset)) is not None:
            raise DataError(f"{found} {REMEDY}")


def matching_units(known: Mapping[str, float], size: float, within: float) -> list[str]:
    """Return the names of the units that differ from `size` by at most a factor `within`, the nearest first."""
    distances = {name: abs(float(np.log(value / size))) for name, value in known.items()}
    return sorted(
        (name for name, distance in distances.items() if distance < np.log(within)), key=distances.__getitem__
    )


def _force_unit_by_bonds(dataset: Dataset) -> str | None:
    for number, found in bond_stiffness(dataset).items():
        size = STIFFNESS[number] / found.slope  # of the unit of force, in eV/Å
        names = matching_units(FORCE_UNITS, size, SAME_UNIT_OF_BONDS)
        if 1 / NOT_STIFF < size < NOT_STIFF or not names:
            continue
        bond = f"{chemical_symbols[number]}-H"
        return (
            f"the force labels of {dataset.source} seem to be in {' or '.join(names)}: its {bond} bonds have a force "
            f"constant of {found.slope:.3g} in the unit of the labels per Å, and such bonds have about "
            f"{STIFFNESS[number]:.0f} eV/Å²."
        )
    return None


def bond_stiffness(dataset: Dataset) -> dict[int, Slope]:
    """Return the force constants of bonds to hydrogen: atomic number of the partner -> minus force against length.

    Partners are carbon, nitrogen and oxygen, as far as their bonds are stretched and compressed in the data so that
    force and length are correlated.
    """
    values: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for index in _evenly(len(dataset), N_STRUCTURES):
        atoms = dataset.structures[index]
        if 1 not in atoms.numbers or not np.isin(atoms.numbers, list(STIFFNESS)).any():
            continue
        forces = dataset.forces_of(index)
        for hydrogen in np.flatnonzero(atoms.numbers == 1):
            vectors = _to_nearest_image(atoms.positions - atoms.positions[hydrogen], atoms)
            lengths = np.linalg.norm(vectors, axis=1)
            partners = np.setdiff1d(np.flatnonzero(lengths < LONGEST_BOND), hydrogen)
            if len(partners) == 1 and (number := int(atoms.numbers[partner := partners[0]])) in STIFFNESS:
                values[number].append((lengths[partner], -forces[hydrogen] @ vectors[partner] / lengths[partner]))
    found = {}
    for number, pairs in values.items():
        bonds = np.array(pairs)  # (n, 2), length and force
        # Some bonds are about to break, and some hydrogen atoms collide with others: they tell nothing about the bond.
        low, high = np.quantile(bonds, (0.05, 0.95), axis=0)
        bonds = bonds[((low <= bonds) & (bonds <= high)).all(axis=1)]
        if len(bonds) < LEAST_BONDS or not (bonds.std(axis=0) > (LEAST_SPREAD, 0)).all():
            continue
        correlation = -float(np.corrcoef(bonds.T)[0, 1])
        if correlation > LEAST_CORRELATION:
            length_spread, force_spread = bonds.std(axis=0)
            found[number] = Slope(float(force_spread / length_spread), correlation, len(bonds))
    return found


def _unit_by_pairs(dataset: Dataset) -> str | None:
    found = energy_by_forces(dataset)
    if found is None or found.correlation < PAIR_CORRELATION or found.n < LEAST_PAIRS or energies_fit_forces(dataset):
        return None
    ratios = {
        f"energies in {energy_unit} and forces in {force_unit}": force_size / energy_size
        for energy_unit, energy_size in {"eV": 1.0, **ENERGY_UNITS}.items()
        for force_unit, force_size in {"eV/Å": 1.0, **FORCE_UNITS}.items()
    }
    names = matching_units(ratios, found.slope, SAME_UNIT_OF_PAIRS)
    if not names:
        return None
    return (
        f"energy and force labels of {dataset.source} are not in eV and eV/Å: between {found.n} pairs of similar "
        f"structures the energy changes {found.slope:.3g} times as much as by forces times displacements (correlation "
        f"{found.correlation:.3f}), as with {' or '.join(names[:2])}."
    )


def energy_by_forces(dataset: Dataset) -> Slope | None:
    """Return the slope of energy differences against forces times displacements, over pairs of similar structures.

    Similar structures have the same atoms in the same order and the same cell, and no atom moves further than 0.3 Å.
    None if there are no energies or no such pairs.
    """
    if dataset.energy is None:
        return None
    by_energy, by_forces = [], []
    for first, second, displacement in _similar_pairs(dataset, LARGEST_DISPLACEMENT):
        mean_forces = (dataset.forces_of(first) + dataset.forces_of(second)) / 2
        by_forces.append(-float((mean_forces * displacement).sum()))
        by_energy.append(float(dataset.energy[second] - dataset.energy[first]))
    x, y = np.array(by_forces), np.array(by_energy)
    if len(x) < 2 or not x.std() > 0 or not y.std() > 0:
        return None
    return Slope(float(x @ y / (x @ x)), float(x @ y / np.sqrt((x @ x) * (y @ y))), len(x))


def is_likelier(dataset: Dataset, size: float) -> bool:
    """Return whether force labels are likelier in a unit of `size` eV/Å than in eV/Å, by what is known of solids.

    The force constant along the displacements between samples tells it roughly, that of bonds to hydrogen more exactly.
    True if the data have neither.
    """
    if bond_stiffness(dataset):
        return False  # `check_units` has found them right
    found = []
    for first, second, displacement in _similar_pairs(dataset, LARGEST_OF_STIFFNESS):
        change = dataset.forces_of(second) - dataset.forces_of(first)
        found.append(-float((change * displacement).sum() / (displacement**2).sum()))
    stiffness = float(np.median(found)) if len(found) >= LEAST_PAIRS else 0.0
    if stiffness <= 0:
        return True
    return abs(np.log(size * stiffness / USUAL_STIFFNESS)) < abs(np.log(stiffness / USUAL_STIFFNESS))


def energies_fit_forces(dataset: Dataset) -> bool:
    """Return whether similar structures show that energy and force labels are in units that belong together."""
    found = energy_by_forces(dataset)
    if found is None or found.correlation < PAIR_CORRELATION or found.n < LEAST_PAIRS:
        return False
    return 1 / SAME_UNIT_OF_PAIRS**2 < found.slope < SAME_UNIT_OF_PAIRS**2


def _similar_pairs(dataset: Dataset, largest: float) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield some pairs of structures, near each other among those of the same kind, and their displacement."""
    groups: dict[tuple[bytes, ...], list[int]] = defaultdict(list)
    for index in _windows(len(dataset)):
        atoms = dataset.structures[index]
        cell = atoms.cell.array.round(4) + 0.0 if atoms.pbc.any() else np.zeros(0)
        groups[(*key(atoms), cell.tobytes())].append(index)
    # Of a small dataset, also pairs that are not next to each other: there may be few similar ones.
    reach = max(1, N_PAIRS // len(dataset))
    steps = range(1, reach + 1)
    pairs = [pair for group in groups.values() for step in steps for pair in zip(group, group[step:], strict=False)]
    for first, second in pairs[:: -(-len(pairs) // N_PAIRS) or 1]:
        before, after = dataset.structures[first], dataset.structures[second]
        displacement = _to_nearest_image(after.positions - before.positions, before)
        furthest = np.linalg.norm(displacement, axis=1).max()
        if LEAST_DISPLACEMENT < furthest < largest:
            yield first, second, displacement


def _evenly(n_all: int, n_most: int) -> list[int]:
    """Return at most `n_most` evenly spaced indices below `n_all`."""
    return sorted({round(float(place)) for place in np.linspace(0, n_all - 1, min(n_all, n_most))})


def _windows(n_all: int) -> list[int]:
    """Return all indices below `n_all`, or of a large dataset those in evenly spaced windows, ascending."""
    if n_all <= N_WINDOWS * WINDOW:
        return list(range(n_all))
    return [start + step for start in _evenly(n_all - WINDOW + 1, N_WINDOWS) for step in range(WINDOW)]


def _to_nearest_image(vectors: np.ndarray, atoms: Atoms) -> np.ndarray:
    """Return `vectors` (n, 3) in Å between atoms to the nearest periodic image; it is exact for short ones."""
    if not atoms.pbc.any():
        return vectors
    cell = atoms.cell.complete().array
    return np.asarray(vectors - np.rint(vectors @ np.linalg.inv(cell) * atoms.pbc) @ cell)


def _energy_unit_by_size(dataset: Dataset) -> str | None:
    if dataset.energy is None:
        return None
    chosen = _evenly(len(dataset), N_STRUCTURES)
    lowest = [lowest_energies(dataset.structures[index].numbers).sum() for index in chosen]
    ratio = float(np.median(dataset.energy[chosen] / lowest))
    if ratio < 1.3:
        return None
    names = matching_units(ENERGY_UNITS, 1 / ratio, 1.3)
    unit = f"seem to be in {names[0]}" if names else "are not in eV"
    return (
        f"the energy labels of {dataset.source} {unit}: they are {ratio:.3g} times as low as the energies of all "
        "electrons and nuclei together could be in eV."
    )


def lowest_energies(numbers: np.ndarray) -> np.ndarray:
    """Return the total energies of atoms with all their electrons, eV, within some per cent.

    The first three terms of the statistical theory of the atom (Englert and Schwinger, Phys. Rev. A 32 (1985) 26).
    """
    z = np.asarray(numbers, dtype=np.float64)
    return -units.Hartree * np.asarray(0.768745 * z ** (7 / 3) - z**2 / 2 + 0.269900 * z ** (5 / 3))
