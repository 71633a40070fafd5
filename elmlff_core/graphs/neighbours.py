"""Edges: pairs of atoms whose nearest periodic images lie within the cutoff (Sec. 2.3)."""

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
    sources, targets = NeighborList(cutoff=cutoff, full_list=True).compute(
        points=atoms.positions, box=atoms.cell.complete().array, periodic=atoms.pbc, quantities="ij"
    )
    pairs = np.unique(np.stack([sources, targets]).astype(np.int64), axis=1)
    return pairs[:, pairs[0] != pairs[1]]
