"""Clusters of similar structures, which must not be divided between splits or the test error would be too low."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from elmlff_core.contracts.structures import subset_of
from elmlff_core.data.structure_distance import SameAtoms, distances, key
from elmlff_core.errors import DataError

# Largest fraction of all structures in one cluster; with larger clusters there would be too few of them to split.
LARGEST_SHARE = 0.05
# All pairs are compared, which takes about 2 GB of memory for this number of structures of one composition.
MOST_STRUCTURES = 15_000


def similarity_clusters(structures: Sequence[Atoms]) -> np.ndarray:
    """Assign each structure to a cluster of similar structures: (n_structures,) int64.

    Clusters come from single linkage by the RMSD of positions.  Any two structures of a cluster are connected by a
    chain of structures with distances up to a threshold, and structures of different clusters are further apart than
    the threshold.  The threshold is the largest for which no cluster has more than 5 % of all structures.  Structures
    that differ in composition or in the order of atoms are never in one cluster.

    Raises
    ------
    DataError
        There are more than 15,000 structures of one composition.
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
                f"compared pair by pair (at most {MOST_STRUCTURES}): use --split blocks, or give test structures"
            )
        found = _linked(subset_of(structures, members), largest)
        labels[members] = found + n_clusters
        n_clusters += int(found.max()) + 1
    return labels


def _linked(structures: Sequence[Atoms], largest: int) -> np.ndarray:
    """Return single-linkage clusters of comparable structures, numbered from 0, with at most `largest` members each."""
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
    threshold = np.nextafter(tree[too_large[0], 2], -np.inf) if len(too_large) else np.inf
    return np.asarray(fcluster(tree, threshold, "distance"), dtype=np.int64) - 1
