"""Splits: every structure is in exactly one split, blocks are contiguous, and seeds decide the choice."""

import numpy as np
import pytest

from elmlff_core.data.splits import read_splits, split_folds, split_indices
from elmlff_core.errors import DataError
from elmlff_core.settings.config import DataConfig


@pytest.mark.parametrize("method", ["random", "blocks"])
@pytest.mark.parametrize("n_structures", [2, 7, 100, 1001])
def test_every_structure_is_kept_or_held_out(method, n_structures):
    kept, held_out = split_indices(n_structures, 0.2, method, np.random.default_rng(0))
    assert sorted([*kept, *held_out]) == list(range(n_structures))
    assert len(held_out) == max(1, round(0.2 * n_structures))


def test_blocks_are_contiguous():
    _, held_out = split_indices(1000, 0.2, "blocks", np.random.default_rng(0))
    assert (np.diff(held_out) > 1).sum() <= 4  # 200 of 1000 structures in at most five contiguous ranges


def test_one_structure_cannot_be_split():
    with pytest.raises(DataError, match="cannot be split"):
        split_indices(1, 0.2, "random", np.random.default_rng(0))


def test_splits_do_not_overlap_and_depend_on_their_seed():
    splits = read_splits(DataConfig())
    indices = [*splits.train_index, *splits.valid_index, *splits.test_index]
    assert sorted(indices) == list(range(1200))
    assert len(splits.test) == 240
    assert len(splits.valid) == 96
    assert np.array_equal(read_splits(DataConfig()).test_index, splits.test_index)
    assert not np.array_equal(read_splits(DataConfig(split_seed=1)).test_index, splits.test_index)


@pytest.mark.parametrize("method", ["random", "blocks"])
@pytest.mark.parametrize(("n_structures", "n_folds"), [(5, 5), (100, 3), (1000, 30)])
def test_every_structure_is_in_exactly_one_fold(method, n_structures, n_folds):
    folds = split_folds(n_structures, n_folds, method, np.random.default_rng(0))
    assert len(folds) == n_folds
    assert sorted(np.concatenate(folds)) == list(range(n_structures))
    difference = max(map(len, folds)) - min(map(len, folds))
    assert difference <= (1 if method == "random" else -(-n_structures // max(20, n_folds)) + 1)


def test_folds_in_blocks_are_made_of_whole_blocks():
    """With 1000 structures in 20 blocks of 50, the fold changes only at the ends of blocks."""
    folds = split_folds(1000, 3, "blocks", np.random.default_rng(0))
    fold_of = np.empty(1000)
    for number, fold in enumerate(folds):
        fold_of[fold] = number
    changes = np.flatnonzero(np.diff(fold_of)) + 1
    assert len(changes) > 0
    assert set(changes % 50) == {0}


def test_more_folds_than_structures_are_refused():
    with pytest.raises(DataError, match="3 training structures cannot be cut into 4 folds"):
        split_folds(3, 4, "random", np.random.default_rng(0))
