"""Splits: cut test and validation structures out of a dataset, and training structures into folds.

Consecutive frames of a trajectory resemble each other: a random split puts near-duplicates on both sides, a split in
contiguous blocks does not.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from elmlff_core.errors import DataError

SplitMethod = Literal["random", "blocks"]
N_BLOCKS = 20  # each block is 5 % of the trajectory: long against its correlation, short against its length


def split_indices(
    n_structures: int, fraction: float, method: SplitMethod, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of what stays and of what is cut out, each ascending.

    Parameters
    ----------
    n_structures : how many there are
    fraction : to cut out, 0 < fraction < 1; at least one structure stays and one is cut out
    method : ``random`` picks structures, ``blocks`` picks contiguous blocks of them
    rng : makes the choice

    Raises
    ------
    DataError
        Fewer than two structures.
    """
    if n_structures < 2:
        raise DataError(f"{n_structures} structure cannot be split in two: give more data")
    n_cut = min(max(round(fraction * n_structures), 1), n_structures - 1)
    order = np.concatenate(_shuffled_blocks(n_structures, method, rng, N_BLOCKS))
    return np.sort(order[n_cut:]), np.sort(order[:n_cut])


def split_folds(n_structures: int, n_folds: int, method: SplitMethod, rng: np.random.Generator) -> list[np.ndarray]:
    """Indices of each of `n_folds` folds, each ascending; together they are all structures.

    Parameters
    ----------
    n_structures : how many there are
    n_folds : at least two
    method : as in `split_indices`; with ``blocks`` no block is shared by two folds, whose sizes may differ by a block
    rng : makes the choice

    Raises
    ------
    DataError
        Fewer structures than folds.
    """
    if n_structures < n_folds:
        raise DataError(f"{n_structures} training structures cannot be cut into {n_folds} folds: ask for fewer folds")
    blocks = _shuffled_blocks(n_structures, method, rng, max(N_BLOCKS, n_folds))
    return [np.sort(np.concatenate(blocks[first::n_folds])) for first in range(n_folds)]


def _shuffled_blocks(
    n_structures: int, method: SplitMethod, rng: np.random.Generator, n_blocks: int
) -> list[np.ndarray]:
    """All indices, cut into runs that stay together, in the order in which they are dealt out."""
    if method == "random":
        return np.split(rng.permutation(n_structures), range(1, n_structures))  # each structure by itself
    blocks = np.array_split(np.arange(n_structures), min(n_blocks, n_structures))
    return [blocks[i] for i in rng.permutation(len(blocks))]
