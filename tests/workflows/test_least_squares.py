"""The method `least-squares` for all subsets, against NumPy for each subset."""

from __future__ import annotations

import numpy as np
import pytest

from elmlff_core.errors import ElmlffError
from elmlff_core.workflows.sweep import least_squares
from elmlff_core.workflows.sweep.least_squares import (
    NormalEquations,
    empty_errors,
    errors_of_combinations,
    least_squares_errors,
    subset_weights,
)
from elmlff_core.workflows.sweep.subsets import all_subsets
from tests.conftest import synthetic_features


def splits(n_models: int = 4):
    return {
        "train": synthetic_features(30, n_models, seed=0),
        "valid": synthetic_features(10, n_models, seed=1),
        "test": synthetic_features(15, n_models, seed=2),
    }


def per_frame(predicted: np.ndarray, features) -> float:
    """Eq. 7 for molecules of five atoms."""
    error = (predicted - features.reference_forces).reshape(len(features), 15)
    return float(np.mean([np.sqrt(np.mean(frame**2)) for frame in error]))


@pytest.mark.parametrize("chunk_numbers", [least_squares.CHUNK_NUMBERS, 3 * 15 * 5 * 4])
def test_every_subset_agrees_with_numpy(monkeypatch, chunk_numbers):
    monkeypatch.setattr(least_squares, "CHUNK_NUMBERS", chunk_numbers)
    features = splits()
    subsets = all_subsets(features["train"].models)
    entries = least_squares_errors(subsets, features)
    assert [entry.subset for entry in entries] == subsets
    assert len(subsets) == 15
    for entry in entries:
        columns = [features["train"].models.index(name) for name in entry.subset]
        for split, values in features.items():
            predicted = np.empty_like(values.reference_forces)
            for number in (1, 6):
                train, rows = features["train"].atomic_numbers == number, values.atomic_numbers == number
                design = features["train"].forces[columns][:, train].reshape(len(columns), -1).T
                target = features["train"].reference_forces[train].ravel()
                weights = np.linalg.lstsq(design, target, rcond=None)[0]
                predicted[rows] = np.tensordot(weights, values.forces[columns][:, rows], axes=1)
            assert entry.errors[split] == pytest.approx(per_frame(predicted, values), rel=1e-9), (entry.subset, split)


def test_two_equal_base_models_give_the_errors_of_one():
    features = splits(2)
    for values in features.values():
        values.forces[1] = values.forces[0]
    alone, again, both = least_squares_errors(all_subsets(("m0", "m1")), features)
    assert both.errors["test"] == pytest.approx(alone.errors["test"])
    assert again.errors == alone.errors


def test_the_empty_subset_predicts_zero_forces():
    features = splits()
    for split, error in empty_errors(features).items():
        assert error == pytest.approx(per_frame(np.zeros_like(features[split].reference_forces), features[split]))


def test_an_unknown_element_is_an_error():
    equations = NormalEquations.of(synthetic_features())
    weights = subset_weights(equations, np.ones((1, 3), dtype=bool))
    with pytest.raises(ElmlffError, match=r"atomic numbers \[8\]"):
        errors_of_combinations(synthetic_features(symbols="OH4"), equations.atomic_numbers, weights)
