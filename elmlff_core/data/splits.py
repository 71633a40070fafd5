"""Splits: cut test and validation structures out of a dataset.

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
    if method == "random":
        order = rng.permutation(n_structures)
    else:
        blocks = np.array_split(np.arange(n_structures), min(N_BLOCKS, n_structures))
        order = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
    return np.sort(order[n_cut:]), np.sort(order[:n_cut])
