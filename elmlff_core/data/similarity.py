"""Clusters of similar structures: what must stay on one side of a split for its test error to mean anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from elmlff_core.contracts.structures import subset_of
from elmlff_core.data.structure_distance import SameAtoms, distances, key
from elmlff_core.errors import DataError

# No cluster holds more than this share of all structures, or there would be nothing left to deal out.
LARGEST_SHARE = 0.05
# All pairs are compared: memory for that many structures of one composition is about 2 GB.
MOST_STRUCTURES = 15_000


def similarity_clusters(structures: Sequence[Atoms]) -> np.ndarray:
    """The cluster of each structure: (n_structures,) int64.

    Single linkage by the RMSD of positions: within a cluster there is a path of near steps between any two structures,
    and structures of different clusters are further apart than the longest such step.  That step is the longest for
    which no cluster holds more than a twentieth of all structures.  Structures that differ in composition or order of
    atoms are never in one cluster.

    Raises
    ------
    DataError
        More than 15,000 structures of one composition.
    """
    groups: dict[tuple[bytes, bytes], list[int]] = {}
    for index, atoms in enumerate(structures):
        groups.setdefault(key(atoms), []).append(index)
    labels = np.empty(len(structures), dtype=np.int64)
    largest = max(1, int(LARGEST_SHARE * len(structures)))
    n_clusters = 0
    for members in groups.values():
        if len(members) > MOST_STRUCTURES:
            raise DataError(
                f"{len(members)} structures of {structures[members[0]].get_chemical_formula()} are too many to be "
                f"compared pair by pair, at most {MOST_STRUCTURES}: use --split blocks, or give test structures"
            )
        found = _linked(subset_of(structures, members), largest)
        labels[members] = found + n_clusters
        n_clusters += int(found.max()) + 1
    return labels


def _linked(structures: Sequence[Atoms], largest: int) -> np.ndarray:
    """Single-linkage clusters of comparable structures, from zero, none with more than `largest` members."""
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(structures) == 1:
        return np.zeros(1, dtype=np.int64)
    same = SameAtoms.of(structures)
    rows = [
        values[row - block.start, row + 1 :]
        for block, values in distances(same, same)
        for row in range(block.start, block.stop)
    ]
    tree = linkage(np.concatenate(rows), "single")
    too_large = np.flatnonzero(tree[:, 3] > largest)
    step = np.nextafter(tree[too_large[0], 2], -np.inf) if len(too_large) else np.inf
    return np.asarray(fcluster(tree, step, "distance"), dtype=np.int64) - 1
