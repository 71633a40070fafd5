"""Edges: pairs of atoms whose periodic images lie within the cutoff (Sec. 2.3)."""

from __future__ import annotations

import numpy as np
from ase import Atoms


def minimum_image_edges(atoms: Atoms, cutoff: float) -> np.ndarray:
    """Return the directed edges of one structure, with each pair of atoms once in each direction.

    A pair that is within `cutoff` through several periodic images has one edge.  An atom is not a neighbour of its own
    images.

    Parameters
    ----------
    atoms : its cell and pbc define the periodic images
    cutoff : Å

    Returns
    -------
    (2, n_edges) int64: source and target atom, sorted
    """
    # Each pair is encoded as one integer, because NumPy sorts integers fastest.
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
    """Return the directed edges of one structure, one for every periodic image, including images of the atom itself.

    A smooth energy needs all images: an image must not be dropped when another one becomes nearer.

    Parameters
    ----------
    atoms : its cell and pbc define the periodic images
    cutoff : Å

    Returns
    -------
    edges : (2, n_edges) int64, source and target atom, sorted by the target and then the source
    vectors : (n_edges, 3) float64, Å, from the target to that image of the source
    """
    targets, sources, vectors = _pairs(atoms, cutoff, "ijD", full_list=True)  # vectors of vesin point from i to j
    # vesin leaves long sorted runs, which a stable sort uses: three times faster than sorting by both atoms.
    order = np.argsort(targets * len(atoms) + sources, kind="stable")
    return np.stack([sources[order], targets[order]]), vectors[order]


def _pairs(atoms: Atoms, cutoff: float, quantities: str, full_list: bool) -> tuple[np.ndarray, ...]:
    """Return both atoms of each pair, int64, and the other `quantities` requested from vesin."""
    from vesin import NeighborList  # loads torch, for seconds, which not every command needs

    first, second, *others = NeighborList(cutoff=cutoff, full_list=full_list).compute(
        points=atoms.positions, box=atoms.cell.complete().array, periodic=atoms.pbc, quantities=quantities
    )
    return first.view(np.int64), second.view(np.int64), *others
