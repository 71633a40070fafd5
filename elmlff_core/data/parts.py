"""Parts: the training, validation and test structures of a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from elmlff_core.config import DataConfig
from elmlff_core.data.dataset import Dataset
from elmlff_core.data.labels import LabelKeys
from elmlff_core.data.readers import read_dataset
from elmlff_core.data.similarity import similarity_clusters
from elmlff_core.data.splits import split_indices


@dataclass(frozen=True)
class Parts:
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


def read_parts(data: DataConfig) -> Parts:
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
    return Parts(source, test_source, rest[train], rest[valid], test_index, clusters)
