"""Distance between structures of the same atoms: the RMSD of their positions, in Å.

Rigid translation is always removed, and rotation if no direction is periodic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from elmlff_core.arrays import blocks, new_array

CHUNK_ELEMENTS = 200_000  # components of displacements in one block, which fit in the processor's cache


@dataclass(frozen=True)
class SameAtoms:
    """Structures with the same atoms in the same order and the same periodic directions.

    Attributes
    ----------
    coordinates : for free molecules (n, n_atoms, 3) float64, Å, with the mean position subtracted; if a direction is
        periodic (3, n, n_atoms) float32, fractional, relative to the first atom.  Components come first because that
        is six times as fast; single precision is enough because positions are known to 1e-6 Å at best
    cells : (n, 3, 3), Å
    periodic : (3,) bool
    """

    coordinates: np.ndarray
    cells: np.ndarray
    periodic: np.ndarray

    @classmethod
    def of(cls, structures: Sequence[Atoms]) -> SameAtoms:
        """Collect structures that have the same `key`."""
        periodic = np.asarray(structures[0].pbc)
        n_structures, n_atoms = len(structures), len(structures[0])
        cells = np.stack([atoms.cell.complete().array for atoms in structures])
        wraps = bool(periodic.any())
        shape = (3, n_structures, n_atoms) if wraps else (n_structures, n_atoms, 3)
        coordinates = new_array(shape, np.float32 if wraps else np.float64)
        for block, _ in blocks(np.full(n_structures, n_atoms)):
            positions = np.stack([atoms.positions for atoms in structures[block]])
            if wraps:
                fractional = positions @ np.linalg.inv(cells[block])
                coordinates[:, block] = (fractional - fractional[:, :1]).transpose(2, 0, 1)
            else:
                coordinates[block] = positions - positions.mean(axis=1, keepdims=True)
        return cls(coordinates, cells, periodic)

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: slice | np.ndarray) -> SameAtoms:
        chosen = self.coordinates[:, index] if self.periodic.any() else self.coordinates[index]
        return SameAtoms(chosen, self.cells[index], self.periodic)

    @property
    def n_atoms(self) -> int:
        """Number of atoms of each structure."""
        return self.coordinates.shape[2 if self.periodic.any() else 1]


def key(atoms: Atoms) -> tuple[bytes, bytes]:
    """Return elements, in order, and periodic directions: structures can be compared if both are the same."""
    return np.asarray(atoms.numbers, dtype="<i8").tobytes(), np.asarray(atoms.pbc, dtype="?").tobytes()


def paired_distances(first: SameAtoms, second: SameAtoms) -> np.ndarray:
    """Return the distance of each structure of `first` to the structure of `second` at the same index: (n,), Å."""
    if first.periodic.any():
        return _periodic(first.coordinates, second.coordinates, first.cells, second.cells, first.periodic)
    return _superposed(first.coordinates, second.coordinates)


def distances(first: SameAtoms, second: SameAtoms) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the distances of structures of `first` to all of `second`, in blocks: (rows, (n_rows, n_second) Å).

    Under periodic boundaries each displacement is taken to the nearest image, in fractional coordinates and relative to
    the first atom; that is the minimum image as long as no atom moves by half a cell relative to the first.  If cells
    differ, differences of lattice vectors count like displacements of three more atoms.  Free molecules are superposed
    by the best proper rotation (Kabsch, Acta Cryst. A32 (1976) 922).
    """
    size = max(1, CHUNK_ELEMENTS // max(1, len(second) * first.n_atoms))
    for start in range(0, len(first), size):
        rows = slice(start, min(start + size, len(first)))
        block = first[rows]
        if first.periodic.any():
            yield rows, _periodic(
                block.coordinates[:, :, None], second.coordinates[:, None],
                block.cells[:, None], second.cells, first.periodic,
            )  # fmt: skip
        else:
            yield rows, _superposed(block.coordinates[:, None], second.coordinates)


def _periodic(
    first: np.ndarray, second: np.ndarray, first_cells: np.ndarray, second_cells: np.ndarray, periodic: np.ndarray
) -> np.ndarray:
    """Compute the RMSD (...,) of relative fractional coordinates (3, ..., n_atoms) in cells (..., 3, 3)."""
    moved = first - second
    for component, wraps in zip(moved, periodic, strict=True):
        if wraps:
            component -= np.rint(component)
        component -= component.mean(axis=-1, keepdims=True)
    metric = first_cells @ np.swapaxes(first_cells, -1, -2)
    squared = ((first_cells - second_cells) ** 2).sum(axis=(-2, -1))
    for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)):
        if np.any(factor := metric[..., i, j]):  # zero off the diagonal in orthorhombic cells, which are most
            squared = squared + (1 if i == j else 2) * factor * np.einsum("...a,...a->...", moved[i], moved[j])
    return np.asarray(np.sqrt(np.maximum(squared, 0) / first.shape[-1]))


def _superposed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute the RMSD (...,) of centred positions (..., n_atoms, 3) after the best rotation."""
    covariance = np.swapaxes(first, -1, -2) @ second  # (..., 3, 3)
    values = np.linalg.svd(covariance, compute_uv=False)  # (..., 3)
    # If the determinant is negative, the best fit is a reflection; the sign change gives the best proper rotation.
    values[..., 2] *= np.where(np.linalg.det(covariance) < 0, -1, 1)
    squared = (first**2).sum(axis=(-2, -1)) + (second**2).sum(axis=(-2, -1)) - 2 * values.sum(axis=-1)
    return np.asarray(np.sqrt(np.maximum(squared, 0) / first.shape[-2]))
