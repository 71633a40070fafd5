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
    # Each pair once, then as one number in both directions: sorting numbers alone is what NumPy does fastest.
    first, second = _pairs(atoms, cutoff, "ij", full_list=False)
    bits = max(1, int(len(atoms) - 1).bit_length())
    keys = np.sort(np.concatenate([first << bits | second, second << bits | first]))
    source, target = keys >> bits, keys & ((1 << bits) - 1)
    kept = source != target
    kept[1:] &= keys[1:] != keys[:-1]
    if not kept.all():
        source, target = source[kept], target[kept]
    return np.stack([source, target])


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
    sources, targets, vectors = _pairs(atoms, cutoff, "ijD", full_list=True)
    # A stable sort finds the long runs that vesin leaves: three times faster than one by both atoms.
    order = np.argsort(sources * len(atoms) + targets, kind="stable")
    vectors = vectors[order]
    np.negative(vectors, out=vectors)  # vesin's point from i to j
    return np.stack([sources[order], targets[order]]), vectors


def _pairs(atoms: Atoms, cutoff: float, quantities: str, full_list: bool) -> tuple[np.ndarray, ...]:
    """Source and target of each pair, int64, and what else `quantities` ask vesin for."""
    sources, targets, *others = NeighborList(cutoff=cutoff, full_list=full_list).compute(
        points=atoms.positions, box=atoms.cell.complete().array, periodic=atoms.pbc, quantities=quantities
    )
    return sources.view(np.int64), targets.view(np.int64), *others
