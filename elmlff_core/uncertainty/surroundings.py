"""Surroundings of atoms as numbers: how many neighbours of which element are where around each atom.

The numbers do not change with rotations, translations or the order of atoms.  They are the lengths of the spherical
moments 0, 1 and 2 of the neighbours' density, in radial shells and for each element, as in the bispectrum's first two
orders (Bartók, Kondor and Csányi, Phys. Rev. B 87, 184115 (2013)).  This tells lattice constants, melts, surfaces and
vacancies apart and takes about 20 µs an atom; it is not complete as a descriptor for a force field has to be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from elmlff_core.graphs.neighbours import periodic_edges

CUTOFF = 5.0  # Å, as that of the meta-models
N_SHELLS = 8
FIRST_SHELL = 0.2  # centre of the first shell, as a fraction of the cutoff
N_CHANNELS = 4  # with more elements than this, elements share channels
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
BLOCK_PAIRS = 2**16  # pairs of atoms in one step: 30 MB


def channels(elements: np.ndarray) -> np.ndarray:
    """Return how much an atom of each atomic number counts in each channel: (119, n_channels) float32.

    Up to four `elements` have a channel each, and other elements count in none.  More have a common channel and two in
    which they count differently, because the numbers would else grow with their count.
    """
    if len(elements) <= N_CHANNELS:
        table = np.zeros((119, len(elements)), np.float32)
        table[elements, np.arange(len(elements))] = 1.0
        return table
    angles = np.arange(119) * GOLDEN_ANGLE
    return np.stack([np.ones(119), np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def surroundings(structures: Sequence[Atoms], table: np.ndarray) -> np.ndarray:
    """Return the surroundings of all atoms: (n_rows, 3 * 8 * n_channels) float32, without unit.

    `table` is what `channels` returned.
    """
    return np.concatenate([_of_structure(atoms, table) for atoms in structures])


def _of_structure(atoms: Atoms, table: np.ndarray) -> np.ndarray:
    (neighbours, centres), vectors = periodic_edges(atoms, CUTOFF)
    counts = table[atoms.numbers]  # (n_atoms, C)
    found = np.zeros((len(atoms), 3, table.shape[1], N_SHELLS), np.float32)
    ends = np.searchsorted(centres, np.arange(len(atoms) + 1))
    first = 0
    while first < len(atoms):  # blocks of whole atoms, so that a large structure takes no more memory than a small one
        last = max(first + 1, int(np.searchsorted(ends, ends[first] + BLOCK_PAIRS, side="right")) - 1)
        pairs = slice(ends[first], ends[last])
        found[first:last] = _moments(
            centres[pairs] - first, vectors[pairs].astype(np.float32), counts[neighbours[pairs]], last - first
        )
        first = last
    return found.reshape(len(atoms), -1)


def _moments(centres: np.ndarray, vectors: np.ndarray, counts: np.ndarray, n_atoms: int) -> np.ndarray:
    """Return the lengths of the moments of `n_atoms` atoms, (n_atoms, 3, C, K), from pairs sorted by their centres."""
    distances = np.maximum(np.linalg.norm(vectors, axis=1), 1e-6)
    x, y, z = (vectors / distances[:, None]).T
    relative = distances / np.float32(CUTOFF)
    positions = np.linspace(FIRST_SHELL, 1.0, N_SHELLS, dtype=np.float32)
    width = positions[1] - positions[0]
    shells = np.exp(-0.5 * ((relative[:, None] - positions) / width) ** 2) * ((1 - relative**2) ** 2)[:, None]  # (E, K)
    third, double = np.float32(1 / 3), np.float32(np.sqrt(2))
    # The angular functions of each moment, normalised so that one neighbour has length one in each.
    angular = (
        [np.ones_like(x)],
        [x, y, z],
        [np.sqrt(1.5, dtype=np.float32) * part for part in
         (x * x - third, y * y - third, z * z - third, double * x * y, double * x * z, double * y * z)],
    )  # fmt: skip
    found = np.zeros((n_atoms, 3, counts.shape[1], N_SHELLS), np.float32)
    for channel in range(counts.shape[1]):
        present = np.flatnonzero(counts[:, channel])
        if not len(present):
            continue
        own, starts = np.unique(centres[present], return_index=True)
        weighted = shells[present] * counts[present, channel][:, None]
        for moment, parts in enumerate(angular):
            squared = np.zeros((len(own), N_SHELLS), np.float32)
            for part in parts:
                total = np.add.reduceat(weighted * part[present][:, None], starts, axis=0)
                squared += total**2
            # The first moment is a number of neighbours, which may count negatively; its sign matters.
            found[own, moment, channel] = total if moment == 0 else np.sqrt(squared)
    return found
