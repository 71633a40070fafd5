"""Splits: cut test and validation structures out of a dataset, and training structures into folds.

Consecutive frames of a trajectory resemble each other: a random split puts near-duplicates on both sides, a split in
contiguous blocks does not.  Where the order of the trajectory is lost, whole clusters of similar structures do.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from elmlff_core.errors import DataError

SplitMethod = Literal["random", "blocks", "clusters"]
N_BLOCKS = 20  # each block is 5 % of the trajectory: long against its correlation, short against its length


def split_indices(
    n_structures: int,
    fraction: float,
    method: SplitMethod,
    rng: np.random.Generator,
    clusters: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of what stays and of what is cut out, each ascending.

    Parameters
    ----------
    n_structures : how many there are
    fraction : to cut out, 0 < fraction < 1; at least one structure stays and one is cut out
    method : ``random`` picks structures, ``blocks`` contiguous blocks of them, ``clusters`` whole clusters
    rng : makes the choice
    clusters : (n_structures,) int, the cluster of each structure, for ``clusters``; none is cut in two, so that more
        may be cut out than asked for

    Raises
    ------
    DataError
        Fewer than two structures, or only one cluster.
    """
    if n_structures < 2:
        raise DataError(f"{n_structures} structure cannot be split in two: give more data")
    n_cut = min(max(round(fraction * n_structures), 1), n_structures - 1)
    blocks = _shuffled_blocks(n_structures, method, rng, N_BLOCKS, clusters)
    order = np.concatenate(blocks)
    if method == "clusters":
        if len(blocks) < 2:
            raise DataError("all structures are in one cluster of similar ones: nothing can be held out by clusters")
        ends = np.cumsum([len(block) for block in blocks])[:-1]  # the last cluster always stays
        n_cut = int(ends[min(int(np.searchsorted(ends, n_cut)), len(ends) - 1)])
    return np.sort(order[n_cut:]), np.sort(order[:n_cut])


def split_folds(
    n_structures: int,
    n_folds: int,
    method: SplitMethod,
    rng: np.random.Generator,
    clusters: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Indices of each of `n_folds` folds, each ascending; together they are all structures.

    Parameters
    ----------
    n_structures : how many there are
    n_folds : at least two
    method, clusters : as in `split_indices`; no block or cluster is shared by two folds, whose sizes may differ by one
    rng : makes the choice

    Raises
    ------
    DataError
        Fewer structures than folds.
    """
    if n_structures < n_folds:
        raise DataError(f"{n_structures} training structures cannot be cut into {n_folds} folds: ask for fewer folds")
    blocks = _shuffled_blocks(n_structures, method, rng, max(N_BLOCKS, n_folds), clusters)
    if len(blocks) < n_folds:
        raise DataError(f"{len(blocks)} clusters of similar structures cannot be cut into {n_folds} folds")
    return [np.sort(np.concatenate(blocks[first::n_folds])) for first in range(n_folds)]


def _shuffled_blocks(
    n_structures: int, method: SplitMethod, rng: np.random.Generator, n_blocks: int, clusters: np.ndarray | None
) -> list[np.ndarray]:
    """All indices, cut into runs that stay together, in the order in which they are dealt out."""
    if method == "random":
        return np.split(rng.permutation(n_structures), range(1, n_structures))  # each structure by itself
    if method == "clusters":
        assert clusters is not None, "say which cluster each structure is in"
        blocks = [np.flatnonzero(clusters == cluster) for cluster in np.unique(clusters)]
    else:
        blocks = np.array_split(np.arange(n_structures), min(n_blocks, n_structures))
    return [blocks[i] for i in rng.permutation(len(blocks))]
