"""The guard: a base model that explodes cannot move a stack; nothing changes where none does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.features.guard import Guard, centre
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.features.metrics import force_metrics
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.settings.config import TrainingConfig
from tests.conftest import synthetic_features

THIRD = np.full(3, 1 / 3)


def exploding(features, model, size=50.0):
    """Return features in which one base model errs by `size` eV/Å."""
    forces = features.forces.copy()
    forces[model] += size * np.random.default_rng(model).normal(size=forces[model].shape)
    return replace(features, forces=forces)


def error(forces, features):
    return force_metrics(forces, features.reference_forces, features.n_atoms).rmse_per_frame


def test_the_centre_of_three_collinear_forces_is_the_middle_one():
    """The geometric median on a line is the median, which no far point moves."""
    forces = np.array([[[0.0, 0, 0]], [[0.1, 0, 0]], [[1e4, 0, 0]]])
    assert centre(forces, THIRD, usual=1e9)[0] == pytest.approx([0.1, 0, 0], abs=2e-3)


def test_centre_and_guard_rotate_with_the_forces():
    forces = synthetic_features().forces
    forces[1] *= 7
    turn = Rotation.from_rotvec([0.3, -1.0, 0.5]).as_matrix()
    guard = Guard(THIRD, np.array([0.05, 0.1, 0.2]), 1.0)
    assert not np.allclose(guard.bounded(forces), forces)
    np.testing.assert_allclose(guard.bounded(forces @ turn), guard.bounded(forces) @ turn, rtol=0, atol=1e-12)


def test_no_force_is_further_from_the_centre_than_its_limit():
    forces = exploding(synthetic_features(), 0).forces
    guard = Guard(THIRD, np.array([0.1, 0.2, 0.3]), 1.0)
    middle = centre(forces, guard.weights, guard.usual)
    distances = np.linalg.norm(guard.bounded(forces) - middle, axis=2)
    assert (distances <= guard.limits[:, None] + 1e-12).all()


def test_it_costs_nothing_where_no_base_model_explodes():
    train, test = synthetic_features(60), synthetic_features(60, seed=1)
    guard = Guard.fit(train)
    plain = error(LinearCombination.fit(train).apply(test), test)
    guarded = error(LinearCombination.fit(guard.apply(train)).apply(guard.apply(test)), test)
    assert guarded < 1.01 * plain


def test_forces_inside_the_limits_are_not_even_rounded():
    forces = synthetic_features().forces
    far = forces.copy()
    far[0, :2] += 100.0
    bounded = Guard(THIRD, np.full(3, 5.0), 1.0).bounded(far)
    np.testing.assert_array_equal(bounded[:, 2:], forces[:, 2:])
    assert (np.abs(bounded[0, :2] - far[0, :2]) > 90).all()


def test_explosions_in_training_lower_the_limits():
    """Least squares would be worth nothing: it is fitted to four structures of sixty."""
    train = synthetic_features(60)
    forces = train.forces.copy()
    forces[2, train.rows(range(4))] += 100 * np.random.default_rng(0).normal(size=(20, 3))
    train = replace(train, forces=forces)
    test = synthetic_features(60, seed=1)
    guard = Guard.fit(train)
    assert guard.limits[2] < 10
    plain = error(LinearCombination.fit(train).apply(test), test)
    guarded = error(LinearCombination.fit(guard.apply(train)).apply(guard.apply(test)), test)
    clean = error(LinearCombination.fit(synthetic_features(60)).apply(test), test)
    assert guarded < 1.1 * clean
    assert plain > 1.3 * clean


@pytest.mark.parametrize("meta", ["linear", "egat"])
@pytest.mark.parametrize("model", [0, 1, 2])
def test_one_exploding_base_model_does_not_move_a_stack(meta, model, tmp_path):
    train, valid, test = (synthetic_features(n, seed=seed) for n, seed in ((40, 0), (10, 1), (20, 2)))
    options = {"width": 16, "layers": 1, "heads": 2} if meta == "egat" else {}
    fitted = make_meta(meta, options)
    training = TrainingConfig(epochs=3, batch_size=8).with_defaults({})
    fitted.fit(FitRequest(train, valid, training, tmp_path, 0, lambda _: None))
    usual = error(fitted.predict(test).forces, test)
    bad = exploding(test, model)
    assert error(bad.forces[model], test) > 40
    assert error(fitted.predict(bad).forces, test) < usual + 1.5  # eV/Å; the reference forces have a norm of 1.7

    (tmp_path / "meta").mkdir()
    fitted.save(tmp_path / "meta")
    again = make_meta(meta, options)
    again.load(Path(tmp_path / "meta"))
    np.testing.assert_array_equal(again.predict(bad).forces, fitted.predict(bad).forces)


def test_of_two_base_models_the_larger_force_loses():
    two = synthetic_features(40).of_models(("m0", "m1"))
    guard = Guard.fit(two)
    for model in (0, 1):
        bad = exploding(two, model, size=1000.0)
        assert error(guard.apply(bad).forces[model], two) < 1.0


def test_without_the_guard_the_combination_is_plain_least_squares(tmp_path):
    train = exploding(synthetic_features(40), 1)
    fitted = make_meta("linear", {"guard": False})
    fitted.fit(FitRequest(train, train, None, tmp_path, 0, lambda _: None))
    np.testing.assert_array_equal(fitted.predict(train).forces, LinearCombination.fit(train).apply(train))


def test_one_base_model_has_nothing_to_be_compared_with():
    one = synthetic_features(10).of_models(("m0",))
    guard = Guard.fit(one)
    assert guard.apply(exploding(one, 0)).forces[0].max() > 50
