"""Structures: flat arrays for many structures, which take a third of the memory of `Atoms`, or no memory if on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce

from elmlff_core.arrays import GrowingArray, blocks, new_array, picked_rows, row_offsets
from elmlff_core.errors import DataError

# No simulation is larger: beyond, native code of backends and neighbour lists counts cells until it crashes.
LARGEST_EXTENT = 1e5  # Å
# No atom is nearer to its own image: beyond, neighbour lists are endless.
SHORTEST_PERIOD = 0.5  # Å


def check_geometry(structures: Sequence[Atoms], first: int = 0, source: str = "") -> None:
    """Refuse positions and cells that would crash or hang a backend, such as those of an exploding simulation.

    Parameters
    ----------
    structures : the structures
    first : index of ``structures[0]`` in the dataset, for messages
    source : where the structures came from, for messages

    Raises
    ------
    DataError
        A position or cell vector is not finite, or is further out than 100,000 Å; or periodic images of an atom are
        nearer than 0.5 Å.  The message has structure and atom.
    """
    for index, atoms in enumerate(structures):
        where = f"structure {first + index}" + (f" of {source}" if source else "")
        positions = atoms.positions
        finite = positions[np.isfinite(positions).all(axis=1)]
        centre = np.median(finite, axis=0) if len(finite) else np.zeros(3)  # one atom far away does not move it
        inside = np.isfinite(positions) & (np.abs(positions - centre) <= LARGEST_EXTENT)
        if not inside.all():
            atom = int(np.argwhere(~inside)[0][0])
            raise DataError(
                f"{where}: atom {atom} is at {positions[atom].tolist()} Å, not finite or more than "
                f"{LARGEST_EXTENT:g} Å away from the others: has the simulation exploded?"
            )
        if not (np.abs(atoms.cell.array) <= LARGEST_EXTENT).all():
            raise DataError(f"{where} has the cell {atoms.cell.array.tolist()} Å, not finite or too large")
        if (period := _shortest_period(atoms)) < SHORTEST_PERIOD:
            raise DataError(
                f"{where} has the cell {atoms.cell.array.tolist()} Å, in which periodic images of an atom are "
                f"{period:.3g} Å apart, less than {SHORTEST_PERIOD} Å: repair the cell, or make it not periodic"
            )


def _shortest_period(atoms: Atoms) -> float:
    """Return the length of the shortest translation between periodic images, Å; infinite if nothing is periodic."""
    vectors = atoms.cell.array[atoms.pbc]  # (n_periodic, 3)
    if not len(vectors):
        return np.inf
    lengths = np.linalg.norm(vectors, axis=1)
    spread = np.linalg.svd(vectors, compute_uv=False)[-1]  # 0 if the vectors do not span their dimensions
    if lengths.min() < SHORTEST_PERIOD or spread < 1e-6 * lengths.max():
        return float(min(lengths.min(), spread))
    if spread >= SHORTEST_PERIOD:  # no combination of the vectors with integers is shorter
        return float(spread)
    reduced = minkowski_reduce(atoms.cell.array, atoms.pbc)[0]
    return float(np.linalg.norm(reduced[atoms.pbc], axis=1).min())


@dataclass(frozen=True, eq=False)
class Structures(Sequence[Atoms]):
    """A sequence of `Atoms`, stored as flat arrays.

    Each access makes a new `Atoms`, so that changing it does not change the sequence.  Subsets share the arrays of all
    n_all structures and select n of them.

    Attributes
    ----------
    numbers : (n_rows,) int64, atomic numbers of all n_all structures
    positions : (n_rows, 3) float64, Å
    cells : (n_all, 3, 3) float64, Å
    pbc : (n_all, 3) bool
    starts : (n_all + 1,) int64, first row of each structure, and the end of the last
    places : (n,) int64, indices of the structures in this sequence
    """

    numbers: np.ndarray
    positions: np.ndarray
    cells: np.ndarray
    pbc: np.ndarray
    starts: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, structures: Iterable[Atoms]) -> Structures:
        """Store the elements, positions, cells and periodicity of `structures`, which may be an iterator."""
        growing = GrowingStructures()
        for atoms in structures:
            growing.append(atoms)
        return growing.whole()

    @classmethod
    def from_arrays(
        cls, n_atoms: np.ndarray, numbers: np.ndarray, positions: np.ndarray, cells: np.ndarray, pbc: np.ndarray
    ) -> Structures:
        """Use existing arrays of n structures with `n_atoms` (n,) int atoms each, in order; nothing is copied."""
        return cls(numbers, positions, cells, pbc, row_offsets(n_atoms), np.arange(len(n_atoms)))

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> Structures: ...
    def __getitem__(self, index: int | slice) -> Atoms | Structures:
        if isinstance(index, slice):
            return self.subset(np.arange(len(self))[index])
        place = self.places[index]
        rows = slice(self.starts[place], self.starts[place + 1])
        return Atoms(
            numbers=self.numbers[rows], positions=self.positions[rows], cell=self.cells[place], pbc=self.pbc[place]
        )

    def __iter__(self) -> Iterator[Atoms]:
        return (self[index] for index in range(len(self)))

    def subset(self, indices: Sequence[int] | np.ndarray) -> Structures:
        """Return the structures at `indices`, in that order; nothing is copied."""
        chosen = self.places[np.asarray(indices, dtype=np.int64)]
        return Structures(self.numbers, self.positions, self.cells, self.pbc, self.starts, chosen)

    @property
    def n_atoms(self) -> np.ndarray:
        """Number of atoms of each structure: (n,) int64."""
        return self.starts[self.places + 1] - self.starts[self.places]

    @property
    def atomic_numbers(self) -> np.ndarray:
        """Atomic numbers of all atoms, in the order of the structures: (sum of n_atoms,) int64."""
        return self.numbers if self._are_all else picked_rows(self.numbers, self.starts, self.places)

    @property
    def _are_all(self) -> bool:
        return np.array_equal(self.places, np.arange(len(self.cells)))

    def compact(self) -> Structures:
        """Return the same sequence with arrays that hold only these structures, in order; self if they do already."""
        if self._are_all:
            return self
        return Structures.from_arrays(
            self.n_atoms,
            self.atomic_numbers,
            picked_rows(self.positions, self.starts, self.places),
            self.cells[self.places],
            self.pbc[self.places],
        )


class GrowingStructures:
    """Structures collected by appending, when their number is not known beforehand."""

    def __init__(self) -> None:
        self.numbers, self.positions = GrowingArray((), np.int64), GrowingArray((3,), np.float64)
        self.cells, self.pbc = GrowingArray((3, 3), np.float64), GrowingArray((3,), np.bool_)
        self.starts = [0]

    def append(self, atoms: Atoms) -> None:
        """Append one structure, without its labels, constraints and other data."""
        self.numbers.append(atoms.numbers)
        self.positions.append(atoms.positions)
        self.cells.append(atoms.cell.array[None])
        self.pbc.append(atoms.pbc[None])
        self.starts.append(self.starts[-1] + len(atoms))

    def whole(self) -> Structures:
        """Return all structures; nothing can be appended afterwards."""
        return Structures(
            self.numbers.whole(), self.positions.whole(), self.cells.whole(), self.pbc.whole(),
            np.array(self.starts), np.arange(len(self.starts) - 1),
        )  # fmt: skip


def subset_of(structures: Sequence[Atoms], indices: Sequence[int] | np.ndarray) -> Sequence[Atoms]:
    """Return the structures at `indices` of any sequence, in that order."""
    return structures.subset(indices) if isinstance(structures, Structures) else [structures[i] for i in indices]


def n_atoms_of(structures: Sequence[Atoms]) -> np.ndarray:
    """Return the number of atoms of each structure of any sequence: (n_structures,) int64."""
    if isinstance(structures, Structures):
        return structures.n_atoms
    return np.array([len(atoms) for atoms in structures], dtype=np.int64)


def flat_structures(structures: Sequence[Atoms]) -> Structures:
    """Return any sequence as `Structures` whose arrays hold only these structures, in order."""
    return structures.compact() if isinstance(structures, Structures) else Structures.of(structures)


def atomic_numbers_of(structures: Sequence[Atoms]) -> np.ndarray:
    """Return the atomic numbers of all atoms of any sequence, in order: (n_rows,) int64."""
    if isinstance(structures, Structures):
        return structures.atomic_numbers
    n_atoms = n_atoms_of(structures)
    numbers = new_array((int(n_atoms.sum()),), np.int64)
    for block, rows in blocks(n_atoms):
        np.concatenate([atoms.numbers for atoms in structures[block]], out=numbers[rows])
    return numbers
