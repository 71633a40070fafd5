"""Edges: pairs of atoms whose periodic images lie within the cutoff (Sec. 2.3)."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from vesin import NeighborList


def minimum_image_edges(atoms: Atoms, cutoff: float) -> np.ndarray:
    """Directed edges of the graph of one structure, each pair once in each direction.

    A pair that is within `cutoff` through several periodic images is one edge; an atom is no neighbour of its own
    image.

    Parameters
    ----------
    atoms : cell and pbc decide which images there are
    cutoff : Å

    Returns
    -------
    (2, n_edges) int64: source and target atom, sorted
    """
    sources, targets = _neighbours(atoms, cutoff, "ij")
    pairs = np.unique(np.stack([sources, targets]).astype(np.int64), axis=1)
    return pairs[:, pairs[0] != pairs[1]]


def periodic_edges(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Directed edges of one structure, one for every periodic image, an atom's own images included.

    Where energies and forces follow the geometry smoothly, an image must not vanish because another one is nearer.

    Parameters
    ----------
    atoms : cell and pbc decide which images there are
    cutoff : Å

    Returns
    -------
    edges : (2, n_edges) int64, source and target atom, sorted by them
    vectors : (n_edges, 3) float64, Å, from the target to that image of the source
    """
    sources, targets, vectors = _neighbours(atoms, cutoff, "ijD")
    order = np.lexsort((targets, sources))
    edges = np.stack([sources, targets]).astype(np.int64)[:, order]
    return edges, -vectors[order]  # vesin's vectors point from i to j


def _neighbours(atoms: Atoms, cutoff: float, quantities: str) -> list[np.ndarray]:
    return NeighborList(cutoff=cutoff, full_list=True).compute(
        points=atoms.positions, box=atoms.cell.complete().array, periodic=atoms.pbc, quantities=quantities
    )
