"""The checks of a base force field; each is a function of a `ForceFieldCase` that returns a measured value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from ase.data import chemical_symbols

from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import BaseForceField
from elmlff_core.testing.report import Figure, NotApplicable
from elmlff_core.testing.structures import (
    doubled,
    doubled_name,
    moved_by_lattice_vectors,
    random_rotation,
    rotated,
    translated,
)
from elmlff_core.testing.tolerances import Tolerances

# Ratios of values of the model and of the reference that a wrong unit causes.
UNITS = {
    "Hartree": 1 / 27.211386,
    "Hartree/Bohr": 1 / 51.422067,
    "kcal/mol": 23.060548,
    "kJ/mol": 96.485332,
    "Rydberg": 1 / 13.605693,
    "Rydberg/Bohr": 1 / 25.711033,
    "meV": 1000.0,
    "eV/Bohr": 0.529177,
    "minus one: the gradient instead of the force": -1.0,
}


@dataclass
class ForceFieldCase:
    """A force field with the structures and tolerances of its checks.

    Attributes
    ----------
    force_field : the force field to check
    structures : the structures, at least one
    tolerances : limits of deviations
    rng : draws rotations, permutations and atoms
    reference : correct prediction for `structures`, or None
    """

    force_field: BaseForceField
    structures: list[Atoms]
    tolerances: Tolerances
    rng: np.random.Generator
    reference: Prediction | None = None

    @cached_property
    def prediction(self) -> Prediction:
        """The prediction of the force field for `structures`."""
        return self.force_field.predict(self.structures)

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Predict other structures, and check the shapes."""
        return self.force_field.predict(structures).checked(structures, self.force_field.name)

    def force_limit(self, absolute: float | None = None) -> float:
        """Return the largest allowed deviation of a force component, eV/Å."""
        absolute = self.tolerances.forces if absolute is None else absolute
        return absolute + self.tolerances.forces_relative * float(np.abs(self.prediction.forces).max())

    def compare(
        self,
        found: Prediction,
        forces: np.ndarray,
        energy: np.ndarray | None,
        absolute: float,
        names: Sequence[str] | None = None,
    ) -> Figure:
        """Return the largest deviation of forces (eV/Å); AssertionError if energies deviate too much.

        If a deviation is too large, the note or the message names the structure by `names`, or else by its number.
        """
        names = names or [f"structure {index}" for index in range(len(found.n_atoms))]
        if found.energy is not None and energy is not None:
            differences = np.abs(found.energy - energy)
            off, where = float(differences.max()), names[int(np.argmax(differences))]
            limit = self.tolerances.energy + self.tolerances.energy_relative * float(np.abs(energy).max())
            assert off <= limit, f"energies differ by {off:.2g} eV (limit {limit:.2g}) in {where}"
        assert (found.energy is None) == (energy is None), "energies are given for some batches and not for others"
        deviations = np.abs(found.forces - forces).max(axis=1)
        row, limit = int(np.argmax(deviations)), self.force_limit(absolute)
        structure = int(np.searchsorted(found.offsets, row, side="right")) - 1
        note = "" if deviations[row] <= limit else f"atom {row - found.offsets[structure]} of {names[structure]}"
        return Figure(float(deviations[row]), limit, "eV/Å", note)


def attributes(case: ForceFieldCase) -> Figure:
    """Check that name, elements, cutoff and fingerprint exist and have the right types."""
    ff = case.force_field
    assert isinstance(ff, BaseForceField), "it lacks name, elements, cutoff, fingerprint or predict"
    assert isinstance(ff.name, str), f"name is {ff.name!r}, expected a string"
    assert ff.name, "name is empty"
    assert ff.elements is None or isinstance(ff.elements, frozenset), (
        f"elements is {ff.elements!r}, expected a frozenset or None"
    )
    if unknown := sorted(set(ff.elements or ()) - set(chemical_symbols[1:])):
        raise AssertionError(f"elements holds {unknown}, expected chemical symbols")
    assert ff.cutoff is None or ff.cutoff > 0, f"cutoff is {ff.cutoff!r}, expected Å or None"
    hexadecimal = isinstance(ff.fingerprint, str) and set(ff.fingerprint) <= set("0123456789abcdef")
    assert hexadecimal, f"fingerprint is {ff.fingerprint!r}, expected hex digits: it names files"
    assert len(ff.fingerprint) >= 24, "fingerprint is shorter than 24 hex digits: two models could share a cache file"
    return Figure(0, 0)


def shapes(case: ForceFieldCase) -> Figure:
    """Check that there is one row of forces per atom, and one energy and one stress per structure."""
    found = case.prediction
    assert isinstance(found, Prediction), f"predict returned {type(found).__name__}, expected Prediction"
    n_atoms = [len(atoms) for atoms in case.structures]
    assert list(found.n_atoms) == n_atoms, f"n_atoms is {list(found.n_atoms)}, expected {n_atoms}"
    expected = {"forces": (sum(n_atoms), 3), "energy": (len(n_atoms),), "stress": (len(n_atoms), 6)}
    for name, shape in expected.items():
        array = getattr(found, name)
        if array is not None:
            assert array.shape == shape, f"{name} has shape {array.shape}, expected {shape}"
            assert array.dtype == np.float64, f"{name} is {array.dtype}, expected float64"
    return Figure(0, 0)


def finite(case: ForceFieldCase) -> Figure:
    """Check that all values are finite."""
    found = case.prediction
    given = (found.forces, found.energy, found.stress, found.descriptors)
    arrays = [array for array in given if array is not None]
    return Figure(float(sum((~np.isfinite(array)).sum() for array in arrays)), 0, "values not finite")


def inputs(case: ForceFieldCase) -> Figure:
    """Check that `predict` does not change structures, and gives the same for a copy."""
    given = [atoms.copy() for atoms in case.structures]
    found = case.predict(given)
    for index, (before, after) in enumerate(zip(case.structures, given, strict=True)):
        assert before == after, f"predict changed structure {index}"
        assert after.calc is None, f"predict left a calculator on structure {index}"
    return case.compare(found, case.prediction.forces, case.prediction.energy, case.tolerances.forces)


def constraints(case: ForceFieldCase) -> Figure:
    """Check that constraints do not remove forces: forces on fixed atoms, as in a slab, are training data too."""
    fixed = [atoms.copy() for atoms in case.structures]
    for atoms in fixed:
        atoms.set_constraint(FixAtoms(range(len(atoms))))
    return case.compare(case.predict(fixed), case.prediction.forces, case.prediction.energy, case.tolerances.forces)


def reference(case: ForceFieldCase) -> Figure:
    """Compare with the values that the author gave; no other check finds units that are wrong everywhere."""
    known = case.reference
    if known is None:
        raise NotApplicable("no reference given")
    found = case.prediction
    off = float(np.abs(found.forces - known.forces).max())
    limit = case.tolerances.reference_forces + case.tolerances.forces_relative * float(np.abs(known.forces).max())
    note = _unit_between(found.forces, known.forces) if off > limit else ""
    if off <= limit and known.energy is not None and found.energy is not None:
        wrong = float(np.abs(found.energy - known.energy).max())
        largest = case.tolerances.reference_energy + case.tolerances.energy_relative * float(np.abs(known.energy).max())
        hint = _unit_between(found.energy, known.energy)
        assert wrong <= largest, f"energies differ by {wrong:.3g} eV (limit {largest:.2g}) {hint}".strip()
    return Figure(off, limit, "eV/Å", note)


def _unit_between(found: np.ndarray, known: np.ndarray) -> str:
    """Return a hint on the wrong unit that explains the ratio of two arrays, or ""."""
    norm = float((known**2).sum())
    if norm == 0 or found.shape != known.shape:
        return ""
    ratio = float((found * known).sum()) / norm
    if not np.allclose(found, ratio * known, atol=1e-2 * np.abs(found).max()):
        return ""
    named = [unit for unit, factor in UNITS.items() if abs(ratio / factor - 1) < 0.01]
    return f"{ratio:.4g} times the reference" + (f": the factor of {named[0]}" if named else "")


def batched(case: ForceFieldCase) -> Figure:
    """Check that a batch of different sizes, in another order, gives the same as single structures."""
    pool = [doubled(case.structures[0]), *reversed(case.structures)]
    together = case.predict(pool)
    alone = Prediction.concatenate([case.predict([atoms]) for atoms in pool])
    numbers = reversed(range(len(case.structures)))
    names = [doubled_name(case.structures[0], 0), *(f"structure {number}" for number in numbers)]
    return case.compare(together, alone.forces, alone.energy, case.tolerances.forces, names)


def permutation(case: ForceFieldCase) -> Figure:
    """Check that forces are permuted with the atoms."""
    orders = [case.rng.permutation(len(atoms)) for atoms in case.structures]
    found = case.predict([atoms[order] for atoms, order in zip(case.structures, orders, strict=True)])
    expected = np.concatenate([case.prediction.forces_of(i)[order] for i, order in enumerate(orders)])
    return case.compare(found, expected, case.prediction.energy, case.tolerances.forces)


def translation(case: ForceFieldCase) -> Figure:
    """Check that a translation of all atoms, even out of the cell, changes nothing."""
    shift = case.rng.uniform(-3, 3, 3)
    found = case.predict([translated(atoms, shift) for atoms in case.structures])
    return case.compare(found, case.prediction.forces, case.prediction.energy, case.tolerances.forces)


def lattice_vectors(case: ForceFieldCase) -> Figure:
    """Check that translations of single atoms by lattice vectors change nothing."""
    if not any(atoms.pbc.any() for atoms in case.structures):
        raise NotApplicable("no structure is periodic")
    found = case.predict([moved_by_lattice_vectors(atoms, case.rng) for atoms in case.structures])
    return case.compare(found, case.prediction.forces, case.prediction.energy, case.tolerances.forces)


def rotation(case: ForceFieldCase) -> Figure:
    """Check that forces rotate with the structure."""
    turn = random_rotation(case.rng)
    found = case.predict([rotated(atoms, turn) for atoms in case.structures])
    return case.compare(found, case.prediction.forces @ turn.T, case.prediction.energy, case.tolerances.rotation)


def descriptors(case: ForceFieldCase) -> Figure:
    """Check that descriptors belong to atoms: they are those of the same atoms after rotations and permutations."""
    known = case.prediction.descriptors
    if known is None:
        raise NotApplicable("it gives none, or was not asked for them")
    assert known.dtype == np.float32, f"descriptors are {known.dtype}, expected float32"
    turn, n_atoms = random_rotation(case.rng), case.prediction.n_atoms
    orders = [case.rng.permutation(number) for number in n_atoms]
    turned = [rotated(atoms, turn)[order] for atoms, order in zip(case.structures, orders, strict=True)]
    found = case.predict(turned[::-1]).descriptors
    assert found is not None, "descriptors are given for some batches and not for others"
    starts = case.prediction.offsets[:-1]
    rows = [start + order for start, order in zip(starts, orders, strict=True)]
    largest = float(np.abs(known).max()) or 1.0
    off = float(np.abs(found - known[np.concatenate(rows[::-1])]).max()) / largest
    return Figure(off, case.tolerances.descriptors, "of the largest")


def size_consistency(case: ForceFieldCase) -> Figure:
    """Check that two copies have twice the energy and the same forces, also in cells smaller than the cutoff.

    If they have not, the message names the structure and its supercell.
    """
    names = [doubled_name(atoms, index) for index, atoms in enumerate(case.structures)]
    found = case.predict([doubled(atoms) for atoms in case.structures])
    forces = [np.tile(case.prediction.forces_of(i), (2, 1)) for i in range(len(case.structures))]
    energy = None if case.prediction.energy is None else 2 * case.prediction.energy
    return case.compare(found, np.concatenate(forces), energy, case.tolerances.forces, names)


def one_atom(case: ForceFieldCase) -> Figure:
    """Check that the force on one atom in a periodic cell is zero, because the forces of its images cancel."""
    symbol = case.structures[0].get_chemical_symbols()[0]
    found = case.predict([Atoms(symbol, cell=[4.0, 4.1, 4.2], pbc=True, positions=[[0.3, 0.2, 0.1]])])
    return Figure(float(np.abs(found.forces).max()), case.force_limit(), "eV/Å")


def isolated_atom(case: ForceFieldCase) -> Figure:
    """Check that the force on an isolated atom is zero."""
    symbol = case.structures[0].get_chemical_symbols()[0]
    found = case.predict([Atoms(symbol, positions=[[0.3, 0.2, 0.1]])])
    return Figure(float(np.abs(found.forces).max()), case.force_limit(), "eV/Å")


def unknown_element(case: ForceFieldCase) -> Figure:
    """Check that an unknown element is refused."""
    known = case.force_field.elements
    if known is None:
        raise NotApplicable("it takes any element")
    strange = next((symbol for symbol in reversed(chemical_symbols[1:]) if symbol not in known), None)
    if strange is None:
        raise NotApplicable("it knows all elements")
    atoms = case.structures[0].copy()
    atoms.symbols[0] = strange
    try:
        case.force_field.predict([atoms])
    except Exception:  # any exception is a refusal; the core adds the name of the model
        return Figure(0, 0)
    raise AssertionError(f"predict accepted {strange}, which is not among its elements")
