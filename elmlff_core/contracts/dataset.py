"""Dataset: structures with reference labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
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
    """Structures with reference forces, and with reference energies and stresses where given.

    All forces are in one array, which may be larger than memory (see `elmlff_core.arrays`).  `forces_of` gives the
    forces of one structure, and `from_lists` takes one array per structure.

    Attributes
    ----------
    structures : positions in Å, cells in Å; they carry no calculators with labels
    forces : (n_rows, 3) float64, eV/Å; rows are the atoms of all structures, in order
    energy : (n_structures,) float64, eV, or None
    stress : (n_structures, 6) float64, eV/Å³, ASE's Voigt order and sign, NaN for structures without it; None if no
        structure has it
    source : where the data came from, for messages
    weight : (n_structures,) float64, what an error of the structure counts in a training, beside 1 for a usual one;
        None if all are usual.  Trainers that take weights square them, as GPUMD does

    Raises
    ------
    DataError
        The number of rows of `forces` is not the number of atoms.
    """

    structures: Sequence[Atoms]
    forces: np.ndarray = field(repr=False)
    energy: np.ndarray | None = field(default=None, repr=False)
    stress: np.ndarray | None = field(default=None, repr=False)
    source: str = ""
    weight: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        expected, found = (int(self.n_atoms.sum()), 3), getattr(self.forces, "shape", None)
        if found != expected:
            shape = f"forces of shape {found}" if found else f"a {type(self.forces).__name__} of forces"
            raise DataError(
                f"{self.source or 'a dataset'} was given {shape}, expected an array of shape {expected} with one row "
                "per atom; Dataset.from_lists takes one array per structure"
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
        """Join one array per structure: forces (n_atoms, 3) in eV/Å, energies in eV, stresses (6,) in eV/Å³.

        Raises
        ------
        DataError
            A structure has more or fewer forces than atoms; the message names the first one.
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
        """Number of atoms of each structure: (n_structures,) int64."""
        return n_atoms_of(self.structures)

    @cached_property
    def labels(self) -> Prediction:
        """The labels as a `Prediction` that shares the arrays of this dataset."""
        return Prediction(self.n_atoms, self.forces, self.energy, self.stress)

    def forces_of(self, index: int) -> np.ndarray:
        """Return the forces on the atoms of structure `index`: (n_atoms, 3) float64, eV/Å."""
        return self.labels.forces_of(index)

    @cached_property
    def elements(self) -> frozenset[str]:
        """Chemical symbols of all elements in the dataset."""
        numbers = {int(number) for atoms in self.structures for number in np.unique(atoms.numbers)}
        return frozenset(Atoms(numbers=sorted(numbers)).get_chemical_symbols())

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of the structures alone, as `fingerprint_of` returns it."""
        return fingerprint_of(self.structures)

    @cached_property
    def labels_fingerprint(self) -> str:
        """Hex digest of structures, labels and weights, on which the result of a training depends."""
        digest = hashlib.sha256(self.fingerprint.encode())
        for array in (self.forces, self.energy, self.stress, self.weight):
            if array is not None:
                for block in _bytes_of(array):
                    digest.update(block)
        return digest.hexdigest()

    def subset(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """Return the structures at `indices`, in that order, with their labels."""
        indices = np.asarray(indices, dtype=np.int64)
        labels = self.labels.subset(indices)
        weight = None if self.weight is None else self.weight[indices]
        structures = subset_of(self.structures, indices)
        return Dataset(structures, labels.forces, labels.energy, labels.stress, self.source, weight)


def fingerprint_of(structures: Iterable[Atoms]) -> str:
    """Return the hex digest of structures: elements, positions, cells and periodicity, in order."""
    digest = hashlib.sha256()
    for atoms in structures:
        digest.update(np.asarray(atoms.numbers, dtype="<i8").tobytes())
        digest.update(np.asarray(atoms.positions, dtype="<f8").tobytes())
        digest.update(np.asarray(atoms.cell.array, dtype="<f8").tobytes())
        digest.update(np.asarray(atoms.pbc, dtype="?").tobytes())
    return digest.hexdigest()


def _bytes_of(array: np.ndarray) -> Iterator[bytes]:
    """Yield the bytes of `array` as little-endian float64, block by block."""
    for start in range(0, len(array), BLOCK_ROWS):
        yield np.asarray(array[start : start + BLOCK_ROWS], dtype="<f8").tobytes()
