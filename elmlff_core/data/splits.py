"""Split a dataset into training, validation and test structures, and training structures into folds.

Consecutive frames of a trajectory are similar: a random split puts near-duplicates into both splits, a split in
contiguous blocks does not.  If the order of the trajectory is lost, splits of whole clusters of similar structures
avoid near-duplicates too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.data.content import are_among, signatures
from elmlff_core.data.earlier import EarlierSplits
from elmlff_core.data.labels import LabelKeys
from elmlff_core.data.readers import read_dataset
from elmlff_core.data.similarity import similarity_clusters
from elmlff_core.errors import DataError
from elmlff_core.settings.config import DataConfig, SplitMethod

N_BLOCKS = 20  # each block is 5 % of the trajectory: longer than its correlation time, much shorter than the whole


def split_indices(
    n_structures: int,
    fraction: float,
    method: SplitMethod,
    rng: np.random.Generator,
    clusters: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose structures to hold out; return the indices of the remaining and of the held-out ones, each ascending.

    Parameters
    ----------
    n_structures : number of structures
    fraction : fraction to hold out, 0 < fraction < 1; at least one structure remains and at least one is held out
    method : ``random`` picks single structures, ``blocks`` contiguous blocks of them, ``clusters`` whole clusters
    rng : random number generator for the choice
    clusters : (n_structures,) int, the cluster of each structure, for ``clusters``; clusters are not divided, so that
        more than the fraction may be held out

    Raises
    ------
    DataError
        There are fewer than two structures, or only one cluster.
    """
    if n_structures < 2:
        raise DataError(f"{n_structures} structure cannot be split in two: give more data")
    n_cut = min(max(round(fraction * n_structures), 1), n_structures - 1)
    blocks = _shuffled_blocks(n_structures, method, rng, N_BLOCKS, clusters)
    order = np.concatenate(blocks)
    if method == "clusters":
        if len(blocks) < 2:
            raise DataError("all structures are in one cluster of similar ones: nothing can be held out by clusters")
        ends = np.cumsum([len(block) for block in blocks])[:-1]  # the last cluster is never held out
        n_cut = int(ends[min(int(np.searchsorted(ends, n_cut)), len(ends) - 1)])
    return np.sort(order[n_cut:]), np.sort(order[:n_cut])


def split_folds(
    n_structures: int,
    n_folds: int,
    method: SplitMethod,
    rng: np.random.Generator,
    clusters: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Divide all structures into `n_folds` folds, and return the indices of each, ascending.

    Parameters
    ----------
    n_structures : number of structures
    n_folds : number of folds, at least two
    method, clusters : as in `split_indices`; no block or cluster is divided between folds, whose numbers of blocks or
        clusters differ by at most one
    rng : random number generator for the choice

    Raises
    ------
    DataError
        There are fewer structures, or fewer clusters, than folds.
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
    """Divide all indices into groups that stay together, and return the groups in random order."""
    if method == "random":
        return np.split(rng.permutation(n_structures), range(1, n_structures))  # groups of one structure
    if method == "clusters":
        assert clusters is not None, "the method 'clusters' needs the cluster of each structure"
        blocks = [np.flatnonzero(clusters == cluster) for cluster in np.unique(clusters)]
    else:
        blocks = np.array_split(np.arange(n_structures), min(n_blocks, n_structures))
    return [blocks[i] for i in rng.permutation(len(blocks))]


@dataclass(frozen=True)
class Splits:
    """Training, validation and test structures, as indices into one or two datasets.

    Attributes
    ----------
    source : dataset of the training and validation structures, and of the test structures if `test_source` is None
    test_source : separate test dataset, or None
    train_index, valid_index : (n,) int64, into `source`
    test_index : (n,) int64, into `test_source` or `source`
    clusters : (n_source,) int64, the cluster of each structure, if the dataset is split by clusters
    n_new : number of training and validation structures that the earlier run did not have; None without such a run
    """

    source: Dataset
    test_source: Dataset | None
    train_index: np.ndarray
    valid_index: np.ndarray
    test_index: np.ndarray
    clusters: np.ndarray | None = None
    n_new: int | None = None

    @cached_property
    def train(self) -> Dataset:
        """Training structures."""
        return self.source.subset(self.train_index)

    @cached_property
    def valid(self) -> Dataset:
        """Validation structures, always taken from the training data."""
        return self.source.subset(self.valid_index)

    @property
    def datasets(self) -> list[Dataset]:
        """The data, and the test structures if they were given apart."""
        return [self.source] if self.test_source is None else [self.source, self.test_source]

    @cached_property
    def test(self) -> Dataset:
        """Test structures, used only in the evaluation."""
        return (self.test_source or self.source).subset(self.test_index)

    def training_folds(self, n_folds: int, data: DataConfig) -> list[np.ndarray]:
        """Divide the training structures into folds, with the method of `data` that split off the test structures.

        Returns the indices of each fold among the training structures; parameters and errors as in `split_folds`.
        """
        clusters = None if self.clusters is None else self.clusters[self.train_index]
        rng = np.random.default_rng([data.split_seed, n_folds])
        return split_folds(len(self.train_index), n_folds, data.split, rng, clusters)


def refuse_overlap(train: Dataset, test: Dataset) -> None:
    """Raise DataError if a structure of `test` is also in `train`, with any labels."""
    n_common = int(are_among(signatures(test.structures), signatures(train.structures)).sum())
    if n_common:
        raise DataError(
            f"{n_common} of the {len(test)} test structures in {test.source} are also in the training data "
            f"{train.source}: errors on them say nothing about unseen structures. Remove them from one of the two, or "
            "name no test data, and a part of the training data is held out"
        )


def read_splits(data: DataConfig) -> Splits:
    """Read the data and split them; raise DataError if they cannot be used, or if given test structures are not unseen.

    Validation structures are taken from the training data, so that no structure of these may be a test structure.  What
    an earlier run has used in one way stays what it was, as `elmlff_core.data.earlier` says.
    """
    keys = LabelKeys(data.energy_key, data.forces_key)
    source = read_dataset(data.train, keys)
    clusters = similarity_clusters(source.structures) if data.split == "clusters" else None
    rng = np.random.default_rng(data.split_seed)
    if data.earlier_run is not None:
        return _next_splits(data, source, clusters, rng)
    if data.test is None:
        test_source = None
        rest, test_index = split_indices(len(source), data.test_fraction, data.split, rng, clusters)
    else:
        test_source = read_dataset(data.test, keys)
        refuse_overlap(source, test_source)
        rest, test_index = np.arange(len(source)), np.arange(len(test_source))
    of_rest = None if clusters is None else clusters[rest]
    train, valid = split_indices(len(rest), data.valid_fraction, data.split, rng, of_rest)
    return Splits(source, test_source, rest[train], rest[valid], test_index, clusters)


def _next_splits(data: DataConfig, source: Dataset, clusters: np.ndarray | None, rng: np.random.Generator) -> Splits:
    """Keep the splits of the earlier run, and divide what is new among training and validation structures."""
    assert data.earlier_run is not None
    earlier = EarlierSplits.load(Path(data.earlier_run))
    found = earlier.places(source.structures)
    train, valid, new = found["train"], found["valid"], found["new"]
    test_source, test_index = None, found["test"]
    if data.test is None:
        earlier.refuse_missing(source, len(test_index))
    else:
        test_source = read_dataset(data.test, LabelKeys(data.energy_key, data.forces_key))
        refuse_overlap(source, test_source)
        # Held out before, and not tested on any more.
        new, test_index = np.union1d(new, test_index), np.arange(len(test_source))
    n_valid = round(data.valid_fraction * (len(train) + len(valid) + len(new))) - len(valid)
    n_valid = min(max(n_valid, 0 if len(valid) else 1), len(new) - (0 if len(train) else 1))
    more_train, more_valid = new, new[:0]
    of_new = None if clusters is None else clusters[new]
    if n_valid > 0 and len(new) > 1 and (of_new is None or len(np.unique(of_new)) > 1):
        kept, held_out = split_indices(len(new), n_valid / len(new), data.split, rng, of_new)
        more_train, more_valid = new[kept], new[held_out]
    train, valid = np.union1d(train, more_train), np.union1d(valid, more_valid)
    if not len(train) or not len(valid):
        raise DataError(
            f"{source.source} leaves {len(train)} training and {len(valid)} validation structures beside the test "
            f"structures of {data.earlier_run}: give data that contain those of that run"
        )
    return Splits(source, test_source, train, valid, test_index, clusters, len(new))
