"""Dataset: structures with reference labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from ase import Atoms

from elmlff_core.arrays import BLOCK_ROWS
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.structures import n_atoms_of, subset_of
from elmlff_core.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """Structures with reference forces, and energies and stresses where given.

    Forces lie in one array, which may be larger than memory, see `elmlff_core.arrays`; `forces_of` gives those of one
    structure, and `from_lists` takes one array per structure.

    Attributes
    ----------
    structures : positions in Å, cells in Å; labels are not among their calculators
    forces : (n_rows, 3) float64, eV/Å, with the atoms of all structures in their order
    energy : (n_structures,) float64, eV, or None
    stress : (n_structures, 6) float64, eV/Å³, ASE's Voigt order and sign, or None
    source : where it came from, for messages

    Raises
    ------
    DataError
        There is not one row of forces for each atom.
    """

    structures: Sequence[Atoms]
    forces: np.ndarray = field(repr=False)
    energy: np.ndarray | None = field(default=None, repr=False)
    stress: np.ndarray | None = field(default=None, repr=False)
    source: str = ""

    def __post_init__(self) -> None:
        expected, found = (int(self.n_atoms.sum()), 3), getattr(self.forces, "shape", None)
        if found != expected:
            shape = f"forces of shape {found}" if found else f"a {type(self.forces).__name__} of forces"
            raise DataError(
                f"{self.source or 'a dataset'} was given {shape}, expected an array of shape {expected}, one row for "
                "each atom; Dataset.from_lists takes one array per structure"
            )

    @classmethod
    def from_lists(
        cls,
        structures: Sequence[Atoms],
        forces: Sequence[np.ndarray],
        energy: Sequence[float] | np.ndarray | None = None,
        stress: Sequence[np.ndarray] | np.ndarray | None = None,
        source: str = "",
    ) -> Dataset:
        """Collect one array per structure: forces (n_atoms, 3) in eV/Å, energies in eV, stresses (6,) in eV/Å³.

        Raises
        ------
        DataError
            Naming the first structure that has not as many forces as atoms.
        """
        labels = Prediction.from_lists(forces, energy, stress)
        for index, (atoms, found) in enumerate(zip(structures, labels.n_atoms, strict=True)):
            if len(atoms) != found:
                where = f"structure {index} of {source or 'a dataset'}"
                raise DataError(f"{where} has {len(atoms)} atoms but forces on {found}")
        return cls(structures, labels.forces, labels.energy, labels.stress, source)

    def __len__(self) -> int:
        return len(self.structures)

    @cached_property
    def n_atoms(self) -> np.ndarray:
        """(n_structures,) int64"""
        return n_atoms_of(self.structures)

    @cached_property
    def labels(self) -> Prediction:
        """Forces, and energies and stresses where given: the arrays themselves, not copied."""
        return Prediction(self.n_atoms, self.forces, self.energy, self.stress)

    def forces_of(self, index: int) -> np.ndarray:
        """Forces on the atoms of structure `index`: (n_atoms, 3) float64, eV/Å."""
        return self.labels.forces_of(index)

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
        for array in (self.forces, self.energy, self.stress):
            if array is not None:
                for part in _bytes_of(array):
                    digest.update(part)
        return digest.hexdigest()

    def subset(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """The structures at `indices`, in that order."""
        indices = np.asarray(indices, dtype=np.int64)
        labels = self.labels.subset(indices)
        return Dataset(subset_of(self.structures, indices), labels.forces, labels.energy, labels.stress, self.source)


def _bytes_of(array: np.ndarray) -> Iterator[bytes]:
    """The numbers of `array` in order, block by block."""
    for start in range(0, len(array), BLOCK_ROWS):
        yield np.asarray(array[start : start + BLOCK_ROWS], dtype="<f8").tobytes()
