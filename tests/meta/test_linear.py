"""Closed-form mixes against NumPy's own least squares, and energies against arithmetic."""

import numpy as np
import pytest
from scipy.optimize import nnls

from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.errors import ElmlffError
from elmlff_core.features.energies import EnergyMix
from elmlff_core.features.linear_combination import ElementMix
from elmlff_core.meta.linear import LinearMeta, LinearOptions
from elmlff_core.meta.simple import BestMeta, MeanMeta, MedianMeta, NoOptions
from tests.conftest import synthetic_features


def request(features, valid=None):
    return FitRequest(features, features if valid is None else valid, None, None, 0, lambda _: None)


def test_weights_are_numpys_least_squares_of_each_element():
    features = synthetic_features()
    mix = ElementMix.fit(features)
    for number, weights in zip(mix.atomic_numbers, mix.weights, strict=True):
        rows = features.atomic_numbers == number
        design = features.forces[:, rows].reshape(len(features.models), -1).T
        expected = np.linalg.lstsq(design, features.reference_forces[rows].ravel(), rcond=None)[0]
        assert np.allclose(weights, expected, rtol=1e-8)


def test_nonnegative_weights_are_scipys_on_the_whole_problem():
    features = synthetic_features()
    features.forces[2] *= -1  # a base that least squares would count against itself
    assert (ElementMix.fit(features).weights < 0).any()
    mix = ElementMix.fit(features, nonnegative=True)
    for number, weights in zip(mix.atomic_numbers, mix.weights, strict=True):
        rows = features.atomic_numbers == number
        design = features.forces[:, rows].reshape(len(features.models), -1).T
        expected = nnls(design, features.reference_forces[rows].ravel())[0]
        assert np.allclose(weights, expected, atol=1e-9)
        assert (weights == 0).any()


def test_known_mix_is_found():
    features = synthetic_features()
    features.reference.forces[:] = 0.2 * features.forces[0] + 0.5 * features.forces[1] - 0.1 * features.forces[2]
    assert np.allclose(ElementMix.fit(features).weights, [0.2, 0.5, -0.1])


def test_equal_bases_share_the_weight():
    features = synthetic_features(n_models=2)
    features.forces[1] = features.forces[0]
    assert np.allclose(ElementMix.fit(features).weights[:, 0], ElementMix.fit(features).weights[:, 1])


def test_a_large_ridge_is_the_mean():
    features = synthetic_features()
    mixed = ElementMix.fit(features, ridge=1e8).apply(features)
    assert np.allclose(mixed, features.forces.mean(axis=0), atol=1e-6)


def test_unknown_element_is_refused():
    mix = ElementMix.fit(synthetic_features())
    with pytest.raises(ElmlffError, match=r"atomic numbers \[8\]"):
        mix.apply(synthetic_features(symbols="OH4"))


def test_energies_are_aligned_before_they_are_mixed():
    features = synthetic_features()
    mix = EnergyMix.fit(features)
    # The bases differ from the reference by a constant alone: aligned, each of them is the reference.
    assert np.allclose(mix.apply(features), features.reference.energy, atol=1e-8)
    assert mix.weights.sum() == pytest.approx(1)


def test_energies_of_uncorrelated_errors_are_weighted_by_inverse_variance():
    features = synthetic_features(n_structures=4000, n_models=2)
    rng = np.random.default_rng(0)
    for name, width in zip(features.models, (0.1, 0.2), strict=True):
        features.energies[name][:] = features.reference.energy + rng.normal(scale=width, size=4000)
    assert np.allclose(EnergyMix.fit(features).weights, [0.8, 0.2], atol=0.03)


def test_no_energies_no_energy():
    features = synthetic_features()
    features.energies.clear()
    assert EnergyMix.fit(features).apply(features) is None


@pytest.mark.parametrize("make", [MeanMeta, MedianMeta, BestMeta])
def test_simple_rules(make, tmp_path):
    features = synthetic_features()
    features.forces[1] = features.reference_forces  # the second base is right
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


def test_without_bases_the_mix_is_zero_and_has_no_energy():
    features = synthetic_features().of_models(())
    assert features.forces.shape == (0, 120, 3)
    assert np.array_equal(ElementMix.fit(features, ridge=0.1).apply(features), np.zeros((120, 3)))
    assert EnergyMix.fit(features).apply(features) is None
    with pytest.raises(ElmlffError, match=r"atomic numbers \[8\]"):
        ElementMix.fit(features).apply(synthetic_features(symbols="OH4").of_models(()))
