"""Content of structures: find the same structure in two datasets, whatever their labels, order and files.

A hash of rounded positions would not do: a file with eight decimals moves each coordinate by up to 5e-9 Å, and in a
structure of hundreds of atoms one of them often lies so near to a limit of rounding that the hash changes.  Instead, a
structure has a *signature* of a few smooth functions of its atoms, and two structures are the same if all of these
agree within a tolerance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from elmlff_core.errors import ElmlffError
from elmlff_core.files import write_bytes

# The rounding of single precision moves a sum by less than this, and so do files with six decimals.  A displacement of
# 1e-3 Å of a single atom among fifty moves a sum by more.
TOLERANCE = 1e-5
GOLDEN = (np.sqrt(5) - 1) / 2
# Wave vectors: in 1/Å along directions without periodicity, where no component is a multiple of another; multiples of
# the reciprocal lattice vectors along periodic ones, so that the choice of the image of an atom makes no difference.
FREE_WAVES = np.array([[1.0, 0.731, -0.587], [-0.419, 1.113, 0.673], [0.871, -0.643, 0.929]])
PERIODIC_WAVES = np.array([[1.0, 2.0, -1.0], [-1.0, 1.0, 2.0], [2.0, -1.0, 1.0]])
CELL_WEIGHTS = np.array([[1.0, 0.377, -0.541], [0.613, 1.0, 0.289], [-0.467, 0.719, 1.0]])
SEEN_FILE = "structures.safetensors"  # in the folder of a training or a stack: the structures that it has used
N_NUMBERS = 2 + len(FREE_WAVES)  # in a signature


def signatures(structures: Sequence[Atoms]) -> np.ndarray:
    """Return the signature of each structure: (n_structures, 5) float64.

    The numbers are the elements, the lattice vectors of periodic directions, and three Fourier sums over the atoms,
    divided by the square root of their number.  They change neither with labels nor with the order of the atoms or the
    choice of their periodic images; they do change with a translation or rotation of the whole structure.
    """
    found = np.empty((len(structures), N_NUMBERS))
    for row, atoms in zip(found, structures, strict=True):
        cell, pbc = atoms.cell.complete().array, atoms.pbc
        phases = atoms.positions @ FREE_WAVES.T
        if pbc.any():
            fractional = atoms.positions @ np.linalg.inv(cell)
            free = atoms.positions * ~pbc
            phases = 2 * np.pi * (fractional * pbc) @ PERIODIC_WAVES.T + free @ FREE_WAVES.T
        weights = 1 + (atoms.numbers * GOLDEN) % 1  # distinct for each element
        row[0] = weights.sum()
        row[1] = (CELL_WEIGHTS * cell)[pbc].sum() + pbc @ (1, 2, 4)
        row[2:] = weights @ np.cos(phases + 0.3) / np.sqrt(len(atoms))
    return found


def are_among(found: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return for each signature of `found` (n, 5) whether it is one of `known` (m, 5): (n,) bool."""
    from scipy.spatial import cKDTree  # takes time to import

    if not len(found) or not len(known):
        return np.zeros(len(found), dtype=bool)
    distances, _ = cKDTree(known).query(found, p=np.inf, distance_upper_bound=TOLERANCE)
    return np.isfinite(distances)


@dataclass(frozen=True)
class SeenStructures:
    """The structures that a training or a fit has used, by their signatures.

    Attributes
    ----------
    train, valid : (n, 5) float64, signatures of its training and validation structures
    """

    train: np.ndarray
    valid: np.ndarray

    @classmethod
    def of(cls, train: Sequence[Atoms], valid: Sequence[Atoms]) -> SeenStructures:
        """Compute the signatures of training and validation structures."""
        return cls(signatures(train), signatures(valid))

    def splits(self, structures: Sequence[Atoms]) -> dict[str, np.ndarray]:
        """Return ``train``, ``valid`` and ``test`` -> the indices of `structures` that were used so, or not at all."""
        found = signatures(structures)
        train = are_among(found, self.train)
        valid = are_among(found, self.valid) & ~train
        masks = {"train": train, "valid": valid, "test": ~train & ~valid}
        return {split: np.flatnonzero(mask) for split, mask in masks.items()}

    def save(self, path: Path) -> None:
        """Write 40 bytes for each structure; ElmlffError if that fails."""
        save_signatures({"train": self.train, "valid": self.valid}, path)

    @classmethod
    def load(cls, path: Path) -> SeenStructures | None:
        """Read what `save` wrote; None if there is no such file, ElmlffError if it is damaged."""
        return cls(**load_signatures(path, ("train", "valid"))) if path.exists() else None


def save_signatures(found: Mapping[str, np.ndarray], path: Path) -> None:
    """Write signatures, name -> (n, 5), to a file; ElmlffError if that fails."""
    from safetensors.numpy import save

    write_bytes(path, save(dict(found)))


def load_signatures(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the signatures of these `names`, each (n, 5) float64; ElmlffError if the file is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(path.read_bytes())
        return {name: tensors[name].reshape(-1, N_NUMBERS) for name in names}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ElmlffError(f"cannot read {path}: {type(error).__name__}: {error}; restore it") from error
