"""Clusters of similar structures, and splits that do not divide them."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from elmlff_core.data import similarity
from elmlff_core.data.similarity import similarity_clusters
from elmlff_core.data.splits import read_splits, split_folds, split_indices
from elmlff_core.data.structure_distance import SameAtoms, distances
from elmlff_core.errors import DataError
from elmlff_core.settings.config import DataConfig


def walks(n_walks: int, n_steps: int, symbols: str = "CH4", seed: int = 0) -> list[Atoms]:
    """Make independent random walks of a molecule in short steps, one after another."""
    rng = np.random.default_rng(seed)
    structures = []
    for _ in range(n_walks):
        positions = rng.normal(scale=2.0, size=(len(Atoms(symbols)), 3))
        for _ in range(n_steps):
            positions = positions + rng.normal(scale=0.01, size=positions.shape)
            structures.append(Atoms(symbols, positions=positions))
    return structures


def together(labels: np.ndarray) -> np.ndarray:
    return labels[:, None] == labels


def test_clusters_are_the_walks_after_shuffling():
    n_walks, n_steps = 25, 8
    order = np.random.default_rng(1).permutation(n_walks * n_steps)
    structures = walks(n_walks, n_steps)
    labels = similarity_clusters([structures[index] for index in order])
    assert np.array_equal(together(labels), together(order // n_steps))


def test_structures_with_different_atoms_are_in_different_clusters():
    labels = similarity_clusters([*walks(1, 2, "CH4"), *walks(1, 2, "H4C"), *walks(1, 40, "OH2")])
    assert len(set(labels[:2]) & set(labels[2:4])) == 0
    assert len(set(labels[:4]) & set(labels[4:])) == 0


def test_no_cluster_has_more_than_five_percent_of_the_structures():
    labels = similarity_clusters(walks(2, 100))
    assert np.bincount(labels).max() <= 10


def test_clusters_are_single_linkage():
    """Structures of different clusters are further apart than nearest neighbours within any cluster."""
    structures = walks(30, 4, seed=3)
    labels = similarity_clusters(structures)
    same = SameAtoms.of(structures)
    pairs = np.vstack([values for _, values in distances(same, same)])
    np.fill_diagonal(pairs, np.inf)
    apart = pairs[~together(labels)].min()
    for cluster in np.unique(labels):
        inside = np.flatnonzero(labels == cluster)
        if len(inside) > 1:
            assert pairs[np.ix_(inside, inside)].min(axis=1).max() <= apart


def test_no_cluster_is_divided():
    clusters = np.repeat(np.arange(10), 7)
    rng = np.random.default_rng(0)
    kept, held_out = split_indices(70, 0.25, "clusters", rng, clusters)
    assert len(held_out) == 21  # the smallest number of whole clusters with at least a quarter of the structures
    assert not set(clusters[kept]) & set(clusters[held_out])
    folds = split_folds(70, 3, "clusters", rng, clusters)
    assert sorted(np.concatenate(folds)) == list(range(70))
    assert sum(len(set(clusters[fold])) for fold in folds) == 10
    with pytest.raises(DataError, match="one cluster"):
        split_indices(5, 0.2, "clusters", rng, np.zeros(5, dtype=int))
    with pytest.raises(DataError, match="10 clusters"):
        split_folds(70, 11, "clusters", rng, clusters)


def test_splits_are_whole_clusters(tmp_path):
    import ase.io
    from ase.calculators.singlepoint import SinglePointCalculator

    structures = walks(25, 4)
    for atoms in structures:
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((5, 3)))
    ase.io.write(tmp_path / "walks.extxyz", structures)
    splits = read_splits(DataConfig(train=str(tmp_path / "walks.extxyz"), split="clusters"))
    train, valid, test = (set(index // 4) for index in (splits.train_index, splits.valid_index, splits.test_index))
    assert train.isdisjoint(valid | test)
    assert valid.isdisjoint(test)
    assert len(splits.test_index) == 20


def test_too_many_structures_are_refused(monkeypatch):
    monkeypatch.setattr(similarity, "MOST_STRUCTURES", 10)
    with pytest.raises(DataError, match="11 structures of CH4 are too many"):
        similarity_clusters(walks(11, 1))
