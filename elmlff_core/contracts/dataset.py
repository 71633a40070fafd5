"""Dataset: structures with reference labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from ase import Atoms

from elmlff_core.contracts.structures import n_atoms_of, subset_of


@dataclass(frozen=True)
class Dataset:
    """Structures with reference forces, and energies and stresses where given.

    Attributes
    ----------
    structures : positions in Å, cells in Å; labels are not among their calculators
    forces : one (n_atoms, 3) float64 array per structure, eV/Å
    energy : (n_structures,) float64, eV, or None
    stress : (n_structures, 6) float64, eV/Å³, ASE's Voigt order and sign, or None
    source : where it came from, for messages
    """

    structures: Sequence[Atoms]
    forces: Sequence[np.ndarray] = field(repr=False)
    energy: np.ndarray | None = field(default=None, repr=False)
    stress: np.ndarray | None = field(default=None, repr=False)
    source: str = ""

    def __len__(self) -> int:
        return len(self.structures)

    @cached_property
    def n_atoms(self) -> np.ndarray:
        """(n_structures,) int"""
        return n_atoms_of(self.structures)

    @cached_property
    def elements(self) -> frozenset[str]:
        """Chemical symbols that occur."""
        numbers = {int(number) for atoms in self.structures for number in np.unique(atoms.numbers)}
        return frozenset(Atoms(numbers=sorted(numbers)).get_chemical_symbols())

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of what force fields see: elements, positions, cells and periodicity, in order."""
        digest = hashlib.sha256()
        for atoms in self.structures:
            digest.update(np.asarray(atoms.numbers, dtype="<i8").tobytes())
            digest.update(np.asarray(atoms.positions, dtype="<f8").tobytes())
            digest.update(np.asarray(atoms.cell.array, dtype="<f8").tobytes())
            digest.update(np.asarray(atoms.pbc, dtype="?").tobytes())
        return digest.hexdigest()

    @cached_property
    def labels_fingerprint(self) -> str:
        """Hex digest of structures and labels: what a training depends on."""
        digest = hashlib.sha256(self.fingerprint.encode())
        for array in (*self.forces, self.energy, self.stress):
            if array is not None:
                digest.update(np.asarray(array, dtype="<f8").tobytes())
        return digest.hexdigest()

    def subset(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """The structures at `indices`, in that order."""
        indices = np.asarray(indices, dtype=np.int64)
        return Dataset(
            structures=subset_of(self.structures, indices),
            forces=[self.forces[i] for i in indices],
            energy=None if self.energy is None else self.energy[indices],
            stress=None if self.stress is None else self.stress[indices],
            source=self.source,
        )
