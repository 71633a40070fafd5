"""`egat` with descriptors of base models: it learns from them, and they follow atoms wherever features go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.errors import ElmlffError
from elmlff_core.features.feature_file import load_features, save_features
from elmlff_core.graphs.masks import BaseMasks, HiddenModels
from elmlff_core.meta.egat import EGATMeta
from elmlff_core.meta.options import EGATOptions
from elmlff_core.settings.config import TrainingConfig
from tests.conftest import synthetic_features
from tests.meta.test_egat import error, fit


def described(n_structures: int, seed: int) -> Features:
    """Make two base models of which one is right on each atom, and descriptors of the first that say which one."""
    features = synthetic_features(n_structures, n_models=2, seed=seed)
    rng = np.random.default_rng(seed + 1)
    right = rng.random(len(features.atomic_numbers)) < 0.5
    reference = features.reference_forces
    wrong = reference + rng.normal(size=reference.shape)
    forces = np.stack([np.where(right[:, None], reference, wrong), np.where(right[:, None], wrong, reference)])
    numbers = np.stack([right, rng.normal(size=len(right)), rng.normal(size=len(right))], axis=1)
    return replace(features, forces=forces, descriptors={"m0": numbers.astype(np.float32)})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> EGATMeta:
    return fit(described(60, 0), described(20, 1), tmp_path_factory.mktemp("fit"), epochs=20)


def test_it_learns_from_them(fitted: EGATMeta, tmp_path: Path) -> None:
    unseen = described(20, 2)
    without = fit(described(60, 0), described(20, 1), tmp_path, epochs=20, options={"components": 0})
    assert error(fitted, unseen) < 0.5 * error(without, unseen)


def test_a_saved_one_predicts_the_same(fitted: EGATMeta, tmp_path: Path) -> None:
    unseen = described(3, 2)
    fitted.save(tmp_path)
    again = EGATMeta(fitted.options)
    again.load(tmp_path)
    np.testing.assert_array_equal(again.predict(unseen).forces, fitted.predict(unseen).forces)


def test_features_keep_them(fitted: EGATMeta, tmp_path: Path) -> None:
    unseen = described(6, 2)
    save_features(unseen, tmp_path / "features.safetensors")
    whole = fitted.predict(load_features(tmp_path / "features.safetensors"))
    np.testing.assert_array_equal(whole.forces, fitted.predict(unseen).forces)
    alone = fitted.predict(unseen.subset([4])).forces
    np.testing.assert_allclose(alone, whole.forces_of(4), rtol=0, atol=1e-5)
    assert "m0" not in unseen.of_models(["m1"]).descriptors


def test_base_models_without_them_are_refused(fitted: EGATMeta) -> None:
    with pytest.raises(ElmlffError, match="learnt from 3 numbers that describe an atom, and gets none"):
        fitted.predict(replace(described(2, 2), descriptors={}))


def test_hidden_base_models_tell_nothing(fitted: EGATMeta) -> None:
    batch = fitted._graphs(described(4, 2)).batch([0, 1, 2, 3])
    assert batch.components is not None
    hidden = HiddenModels(torch.tensor([1, 6]), torch.full((2, 2), 0.5), 0.5)
    shown = hidden.masked(batch, torch.tensor([True, False, True, False])).components
    assert shown is not None
    assert not shown[:5].any()
    torch.testing.assert_close(shown[5:10], batch.components[5:10])


def test_a_masked_fit_does_not_see_them(tmp_path: Path) -> None:
    """The descriptors of a base model that is hidden would give it away."""
    train = described(12, 0)
    members = np.array([[True, False], [False, True]])
    weights = np.stack([np.tile(row, (2, 1)) for row in members.astype(float)])
    masks = BaseMasks.from_arrays(train.elements, members, weights, [0])
    meta = EGATMeta(EGATOptions(width=16, layers=1, heads=4))
    training = TrainingConfig(epochs=1, device="cpu", batch_size=4)
    meta.fit(FitRequest(train, described(4, 1), training, tmp_path, 0, lambda _: None, masks))
    (found,) = meta.predict_masked(replace(train, descriptors={}), masks, [0])
    assert np.isfinite(found).all()
