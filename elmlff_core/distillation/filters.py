"""Filters: which made structures a student may learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.distillation.settings import DistillationSettings
from elmlff_core.plugins.toolkit import NeighbourFinder
from elmlff_core.stack.stack import Stack, StackPrediction

PAIRS_WITHIN = 4.0  # Å; no smallest distance of two elements is larger
CLOSER = 0.9  # than the smallest distance in the training structures
BONDED = 0.7  # of the sum of covalent radii, for elements that never meet in the training structures
STRONGER = 1.5  # than the largest force in the training structures
# Times the usual error of the stack.  A student with few labels errs far more than the stack usually does, and learns
# from structures of which the stack is less sure than usual: those reach further than the labels do.
LESS_SURE = 20.0
MOST_STRUCTURES = 2000  # in which smallest distances are looked for
N_NUMBERS = 119


@dataclass(frozen=True)
class Limits:
    """What a made structure may be.

    Attributes
    ----------
    distances : (119, 119) float64, Å, smallest distance of atoms by their atomic numbers
    largest_force : eV/Å, length of the force on an atom
    largest_error : eV/Å, calibrated standard deviation of force components on an atom; None if the stack has none
    """

    distances: np.ndarray = field(repr=False)
    largest_force: float
    largest_error: float | None

    @classmethod
    def of(cls, settings: DistillationSettings, train: Dataset, stack: Stack) -> Limits:
        """Return the limits that the settings give, and for the others those of the training data and of the stack."""
        if settings.smallest_distance is not None:
            distances = np.full((N_NUMBERS, N_NUMBERS), settings.smallest_distance)
        else:
            distances = CLOSER * smallest_distances(train.structures)
        largest_force = settings.largest_force
        if largest_force is None:
            largest_force = STRONGER * float(np.linalg.norm(train.forces, axis=1).max())
        largest_error = None
        if stack.uncertainty is not None:
            largest_error = settings.largest_error or LESS_SURE * stack.uncertainty.usual_error
        return cls(distances, largest_force, largest_error)

    def too_close(self, structures: Sequence[Atoms]) -> np.ndarray:
        """Return which structures have two atoms that are too close to each other: (n_structures,) bool."""
        finder = NeighbourFinder(max(float(self.distances.max()), 0.1))
        return np.array([self._is_too_close(atoms, finder) for atoms in structures], dtype=bool)

    def _is_too_close(self, atoms: Atoms, finder: NeighbourFinder) -> bool:
        first, second, lengths = _pairs(atoms, finder)
        return bool((lengths < self.distances[first, second]).any())

    def too_strong(self, found: StackPrediction) -> np.ndarray:
        """Return which structures have an atom with a force that is too large: (n_structures,) bool."""
        strongest = np.maximum.reduceat(np.linalg.norm(found.forces, axis=1), found.offsets[:-1])
        return np.asarray(strongest > self.largest_force)

    def too_uncertain(self, found: StackPrediction) -> np.ndarray:
        """Return which structures have an atom of which the stack is not sure: (n_structures,) bool."""
        if self.largest_error is None or found.forces_std is None:
            return np.zeros(len(found.n_atoms), dtype=bool)
        return np.asarray(np.maximum.reduceat(found.forces_std, found.offsets[:-1]) > self.largest_error)

    def __str__(self) -> str:
        sure = "no bound on the error, of which the stack has no estimate"
        if self.largest_error is not None:
            sure = f"no calibrated error above {self.largest_error:.3g} eV/Å"
        return f"no force above {self.largest_force:.3g} eV/Å, and {sure}"


def smallest_distances(structures: Sequence[Atoms]) -> np.ndarray:
    """Return the smallest distance between atoms of any two elements in `structures`: (119, 119) float64, Å.

    Elements that are never within 4 Å of each other have 0.78 times the sum of their covalent radii, which is seven
    tenths after the margin of `Limits`.
    """
    radii = np.zeros(N_NUMBERS)
    radii[: len(covalent_radii)] = covalent_radii[:N_NUMBERS]
    unknown = BONDED / CLOSER * (radii[:, None] + radii)
    smallest = np.full((N_NUMBERS, N_NUMBERS), np.inf)
    finder = NeighbourFinder(PAIRS_WITHIN)
    for index in np.unique(
        np.linspace(0, len(structures) - 1, min(len(structures), MOST_STRUCTURES)).round().astype(int)
    ):
        np.minimum.at(smallest, *_by_elements(structures[int(index)], finder))
    smallest = np.minimum(smallest, smallest.T)
    return np.where(np.isinf(smallest), unknown, smallest)


def _by_elements(atoms: Atoms, finder: NeighbourFinder) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    first, second, lengths = _pairs(atoms, finder)
    return (first, second), lengths


def _pairs(atoms: Atoms, finder: NeighbourFinder) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the atomic numbers of the two atoms of each pair, and their distances in Å: three (n_pairs,) arrays."""
    centre, neighbour, offset = finder.pairs(atoms)
    vectors = atoms.positions[neighbour] + offset - atoms.positions[centre]
    return atoms.numbers[centre], atoms.numbers[neighbour], np.linalg.norm(vectors, axis=1)
