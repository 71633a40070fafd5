"""`egat`: start as the linear combination, learning beyond it, dense and sparse form, learnt standard deviation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.errors import ElmlffError
from elmlff_core.features.guard import Guard
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.features.metrics import force_metrics
from elmlff_core.meta.egat import EGATMeta
from elmlff_core.meta.options import EGATOptions
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.testing.meta_model import example_features
from tests.conftest import synthetic_features

SMALL = {"width": 16, "layers": 2, "heads": 4}


def fit(features, valid, folder: Path, epochs: int, options=None, **settings) -> EGATMeta:
    meta = EGATMeta(EGATOptions(**SMALL, **(options or {})))
    given = {"batch_size": 4, "loss": "norm", "averaging": 0.9, "learning_rate": 5e-3} | settings
    training = TrainingConfig(epochs=epochs, device="cpu", **given)
    meta.fit(FitRequest(features, valid, training, folder, 0, lambda _: None))
    return meta


def error(meta, features) -> float:
    return force_metrics(meta.predict(features).forces, features.reference_forces, features.n_atoms).rmse_per_frame


def test_it_starts_as_the_linear_combination(tmp_path):
    features = synthetic_features()
    found = fit(features, features, tmp_path, epochs=0, options={"guard": False}).predict(features).forces
    assert np.allclose(found, LinearCombination.fit(features).apply(features), atol=1e-6)


def test_no_training_makes_it_worse_than_the_linear_combination_on_validation(tmp_path):
    features, valid = synthetic_features(seed=0), synthetic_features(seed=1)
    guard = Guard.fit(features)
    combined = LinearCombination.fit(guard.apply(features)).apply(guard.apply(valid))
    at_most = force_metrics(combined, valid.reference_forces, valid.n_atoms).rmse_per_frame
    assert error(fit(features, valid, tmp_path, epochs=2, learning_rate=10.0), valid) <= at_most * (1 + 1e-6)


def test_it_learns_errors_that_depend_on_the_environment(tmp_path):
    """One base model of the example is wrong by a factor that depends on the distance of the nearest neighbour."""
    features, unseen = example_features(60), example_features(20, seed=500)
    meta = fit(features, features, tmp_path, epochs=25)
    combined = LinearCombination.fit(features).apply(unseen)
    at_most = force_metrics(combined, unseen.reference_forces, unseen.n_atoms).rmse_per_frame
    assert error(meta, unseen) < 0.9 * at_most


def test_an_unknown_element_is_refused(tmp_path):
    meta = fit(synthetic_features(), synthetic_features(), tmp_path, epochs=1)
    with pytest.raises(ElmlffError, match=r"atomic numbers \[8\]"):
        meta.predict(synthetic_features(symbols="OH4"))


def test_it_learns_its_errors_without_changing_the_forces(tmp_path):
    """Base models have errors ten times larger on carbon than on hydrogen, and so must be the standard deviations."""
    features = synthetic_features(n_structures=600, noise=0.0)
    rng = np.random.default_rng(1)
    features.reference.forces[:] = rng.normal(size=features.reference_forces.shape)  # independent of the positions
    width = np.where(features.atomic_numbers == 6, 0.5, 0.05)[:, None]
    features.forces[:] = features.reference_forces + width * rng.normal(size=features.forces.shape[1:])
    meta = fit(features, features, tmp_path / "with", 6)
    std = meta.forces_std(features)
    carbon = features.atomic_numbers == 6
    # The best estimate of x, of unit variance, from x + noise of width w has the error w / sqrt(1 + w²).
    assert std[carbon].mean() == pytest.approx(0.5 / 1.25**0.5, rel=0.25)
    assert std[~carbon].mean() == pytest.approx(0.05, rel=0.25)
    plain = fit(features, features, tmp_path / "without", 6, {"variance": False})
    assert plain.forces_std(features) is None
    assert np.allclose(plain.predict(features).forces, meta.predict(features).forces, atol=1e-5)
    (tmp_path / "saved").mkdir()
    meta.save(tmp_path / "saved")
    loaded = EGATMeta(meta.options)
    loaded.load(tmp_path / "saved")
    assert np.allclose(loaded.forces_std(features), std)
