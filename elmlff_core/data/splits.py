"""Splits: cut test and validation structures out of a dataset, and training structures into folds.

Consecutive frames of a trajectory resemble each other: a random split puts near-duplicates on both sides, a split in
contiguous blocks does not.  Where the order of the trajectory is lost, whole clusters of similar structures do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.data.labels import LabelKeys
from elmlff_core.data.readers import read_dataset
from elmlff_core.data.similarity import similarity_clusters
from elmlff_core.errors import DataError
from elmlff_core.settings.config import DataConfig, SplitMethod

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


@dataclass(frozen=True)
class Splits:
    """One or two sources, and the indices into them.

    Attributes
    ----------
    source : what training and validation structures come from, and test structures where `test_source` is None
    test_source : given test structures, or None
    train_index, valid_index : (n,) int64, into `source`
    test_index : (n,) int64, into `test_source` or `source`
    clusters : (n_source,) int64, the cluster of similar structures that each is in, where the split goes by them
    """

    source: Dataset
    test_source: Dataset | None
    train_index: np.ndarray
    valid_index: np.ndarray
    test_index: np.ndarray
    clusters: np.ndarray | None = None

    @cached_property
    def train(self) -> Dataset:
        """Training structures."""
        return self.source.subset(self.train_index)

    @cached_property
    def valid(self) -> Dataset:
        """Validation structures, always cut from the training data."""
        return self.source.subset(self.valid_index)

    @cached_property
    def test(self) -> Dataset:
        """Test structures: touched in evaluation alone."""
        return (self.test_source or self.source).subset(self.test_index)


def read_splits(data: DataConfig) -> Splits:
    """Read and split; DataError where the data cannot be used."""
    keys = LabelKeys(data.energy_key, data.forces_key)
    source = read_dataset(data.train, keys)
    clusters = similarity_clusters(source.structures) if data.split == "clusters" else None
    rng = np.random.default_rng(data.split_seed)
    if data.test is None:
        test_source = None
        rest, test_index = split_indices(len(source), data.test_fraction, data.split, rng, clusters)
    else:
        test_source = read_dataset(data.test, keys)
        rest, test_index = np.arange(len(source)), np.arange(len(test_source))
    of_rest = None if clusters is None else clusters[rest]
    train, valid = split_indices(len(rest), data.valid_fraction, data.split, rng, of_rest)
    return Splits(source, test_source, rest[train], rest[valid], test_index, clusters)
