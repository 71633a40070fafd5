"""Closed-form combinations, compared with least squares of NumPy, and energies, compared with arithmetic."""

import numpy as np
import pytest
from scipy.optimize import nnls

from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.errors import ElmlffError
from elmlff_core.features.energies import EnergyCombination, minimum_variance_weights
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.meta.linear import LinearMeta, LinearOptions
from elmlff_core.meta.simple import BestMeta, MeanMeta, MedianMeta, NoOptions
from tests.conftest import synthetic_features


def request(features, valid=None):
    return FitRequest(features, features if valid is None else valid, None, None, 0, lambda _: None)


def test_weights_are_numpys_least_squares_of_each_element():
    features = synthetic_features()
    combination = LinearCombination.fit(features)
    for number, weights in zip(combination.atomic_numbers, combination.weights, strict=True):
        rows = features.atomic_numbers == number
        design = features.forces[:, rows].reshape(len(features.models), -1).T
        expected = np.linalg.lstsq(design, features.reference_forces[rows].ravel(), rcond=None)[0]
        assert np.allclose(weights, expected, rtol=1e-8)


def test_nonnegative_weights_are_scipys_on_the_whole_problem():
    features = synthetic_features()
    features.forces[2] *= -1  # least squares would give this base model a negative weight
    assert (LinearCombination.fit(features).weights < 0).any()
    combination = LinearCombination.fit(features, nonnegative=True)
    for number, weights in zip(combination.atomic_numbers, combination.weights, strict=True):
        rows = features.atomic_numbers == number
        design = features.forces[:, rows].reshape(len(features.models), -1).T
        expected = nnls(design, features.reference_forces[rows].ravel())[0]
        assert np.allclose(weights, expected, atol=1e-9)
        assert (weights == 0).any()


def test_known_weights_are_found():
    features = synthetic_features()
    features.reference.forces[:] = 0.2 * features.forces[0] + 0.5 * features.forces[1] - 0.1 * features.forces[2]
    assert np.allclose(LinearCombination.fit(features).weights, [0.2, 0.5, -0.1])


def test_equal_base_models_share_the_weight():
    features = synthetic_features(n_models=2)
    features.forces[1] = features.forces[0]
    assert np.allclose(LinearCombination.fit(features).weights[:, 0], LinearCombination.fit(features).weights[:, 1])


def test_a_large_ridge_is_the_mean():
    features = synthetic_features()
    combined = LinearCombination.fit(features, ridge=1e8).apply(features)
    assert np.allclose(combined, features.forces.mean(axis=0), atol=1e-6)


def test_unknown_element_is_refused():
    combination = LinearCombination.fit(synthetic_features())
    with pytest.raises(ElmlffError, match=r"atomic numbers \[8\]"):
        combination.apply(synthetic_features(symbols="OH4"))


def test_energies_are_aligned_before_they_are_combined():
    features = synthetic_features()
    combination = EnergyCombination.fit(features)
    # The base models differ from the reference only by a constant, so each equals the reference after alignment.
    assert np.allclose(combination.apply(features), features.reference.energy, atol=1e-8)
    assert combination.weights.sum() == pytest.approx(1)


def test_energies_of_uncorrelated_errors_are_weighted_by_inverse_variance():
    features = synthetic_features(n_structures=4000, n_models=2)
    rng = np.random.default_rng(0)
    for name, width in zip(features.models, (0.1, 0.2), strict=True):
        features.energies[name][:] = features.reference.energy + rng.normal(scale=width, size=4000)
    assert np.allclose(EnergyCombination.fit(features).weights, [0.8, 0.2], atol=0.03)


def test_minimum_variance_weights_by_hand():
    """For two base models a Lagrange multiplier gives w1 = (c22 - c12) / (c11 + c22 - 2 c12)."""
    covariance = np.array([[0.04, 0.01], [0.01, 0.09]])
    assert np.allclose(minimum_variance_weights(covariance), [0.08 / 0.11, 0.03 / 0.11], rtol=1e-5)
    assert np.allclose(minimum_variance_weights(np.full((2, 2), 0.04)), [0.5, 0.5])  # the same model twice
    assert np.array_equal(minimum_variance_weights(np.zeros((2, 2))), [0.5, 0.5])


def test_no_energies_no_energy():
    features = synthetic_features()
    features.energies.clear()
    assert EnergyCombination.fit(features).apply(features) is None


@pytest.mark.parametrize("make", [MeanMeta, MedianMeta, BestMeta])
def test_simple_rules(make, tmp_path):
    features = synthetic_features()
    features.forces[1] = features.reference_forces  # the second base model is exact
    meta = make(NoOptions())
    meta.fit(request(features))
    expected = {
        MeanMeta: features.forces.mean(axis=0),
        MedianMeta: np.median(features.forces, axis=0),
        BestMeta: features.reference_forces,
    }[make]
    assert np.array_equal(meta.predict(features).forces, expected)
    meta.save(tmp_path)
    loaded = make(NoOptions())
    loaded.load(tmp_path)
    assert np.array_equal(loaded.predict(features).forces, expected)


def test_linear_is_saved_and_loaded(tmp_path):
    features = synthetic_features()
    meta = LinearMeta(LinearOptions())
    meta.fit(request(features))
    meta.save(tmp_path)
    loaded = LinearMeta(LinearOptions())
    loaded.load(tmp_path)
    assert np.array_equal(loaded.predict(features).forces, meta.predict(features).forces)


def test_without_base_models_the_combination_is_zero_and_has_no_energy():
    features = synthetic_features().of_models(())
    assert features.forces.shape == (0, 120, 3)
    assert np.array_equal(LinearCombination.fit(features, ridge=0.1).apply(features), np.zeros((120, 3)))
    assert EnergyCombination.fit(features).apply(features) is None
    with pytest.raises(ElmlffError, match=r"atomic numbers \[8\]"):
        LinearCombination.fit(features).apply(synthetic_features(symbols="OH4").of_models(()))
