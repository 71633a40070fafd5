"""The standard deviation that equivariant networks learn: forces do not depend on it, and earlier fits have none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Progress
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.meta.equivariant_meta import EquivariantMeta
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.testing.meta_model import example_features
from elmlff_core.uncertainty.committee import raw_forces_std

OPTIONS = {"width": 8, "layers": 1, "heads": 2}
TRAINING = TrainingConfig(
    epochs=4, batch_size=4, device="cpu", loss="norm", averaging=0.9, energy_weight=1.0, learning_rate=1e-2
)  # fmt: skip
BOTH = pytest.mark.parametrize("name", ["egat", "conservative"])


def unfitted(name: str, **options: bool) -> EquivariantMeta:
    meta = make_meta(name, OPTIONS | options)
    assert isinstance(meta, EquivariantMeta)
    return meta


def fit(meta: EquivariantMeta, features: Features, folder: Path, training: TrainingConfig = TRAINING) -> None:
    meta.fit(FitRequest(features, features, training, folder, 0, lambda _: None))


@BOTH
def test_the_forces_do_not_depend_on_it(name: str, tmp_path: Path) -> None:
    features, with_std, without = example_features(24), unfitted(name), unfitted(name, variance=False)
    fit(with_std, features, tmp_path / "with")
    fit(without, features, tmp_path / "without")
    assert np.allclose(with_std.predict(features).forces, without.predict(features).forces, rtol=0, atol=1e-6)
    assert without.forces_std(features) is None
    std = with_std.forces_std(features)
    assert std is not None
    assert np.ptp(std) > 0


@BOTH
def test_it_follows_the_errors(name: str, tmp_path: Path) -> None:
    """Labels are noisy on gold, where all base models are wrong by that noise: 0.5 eV/Å, and 0.02 on copper."""
    features, rng = example_features(48), np.random.default_rng(0)
    gold = features.atomic_numbers == 79
    noise = np.where(gold, 0.5, 0.02)[:, None] * rng.normal(size=(len(gold), 3))
    assert features.reference is not None
    features = replace(features, forces=np.repeat(features.reference_forces[None] + noise, 3, axis=0))
    meta = unfitted(name)
    fit(meta, features, tmp_path, TRAINING.model_copy(update={"epochs": 30}))
    error = meta.predict(features).forces - features.reference_forces
    std = meta.forces_std(features)
    assert std is not None
    for element in (gold, ~gold):
        assert std[element].mean() == pytest.approx(np.sqrt((error[element] ** 2).mean()), rel=0.4)
    assert std[gold].mean() > 1.5 * std[~gold].mean()


@BOTH
def test_a_network_that_stays_at_its_start_has_none(name: str, tmp_path: Path) -> None:
    features, meta = example_features(8), unfitted(name)
    fit(meta, features, tmp_path, TRAINING.model_copy(update={"epochs": 0}))
    assert meta.forces_std(features) is None
    (tmp_path / "saved").mkdir()
    meta.save(tmp_path / "saved")
    loaded = unfitted(name)
    loaded.load(tmp_path / "saved")
    assert loaded.forces_std(features) is None


@BOTH
def test_it_is_finite_where_base_models_explode(name: str, tmp_path: Path) -> None:
    features = example_features(8)
    meta = unfitted(name)
    fit(meta, features, tmp_path)
    exploded = replace(features, forces=features.forces * 1e6)
    for one in exploded.structures:
        one.set_cell(one.cell * 0.4, scale_atoms=True)
    std = meta.forces_std(exploded)
    assert std is not None
    assert np.isfinite(std).all()


@BOTH
@pytest.mark.parametrize("asked", [False, True])
def test_a_fit_of_an_earlier_version_is_loaded(name: str, asked: bool, tmp_path: Path) -> None:
    """It has a standard deviation only if the options asked for it, and does not say so."""
    features, fitted = example_features(8), unfitted(name, variance=asked)
    fit(fitted, features, tmp_path / "fit")
    (tmp_path / "saved").mkdir()
    fitted.save(tmp_path / "saved")
    path = tmp_path / "saved" / "meta.json"
    shapes = json.loads(path.read_text())
    assert shapes.pop("learns_std") is asked
    path.write_text(json.dumps(shapes))
    loaded = unfitted(name, **({"variance": True} if asked else {}))
    loaded.load(tmp_path / "saved")
    assert np.array_equal(loaded.predict(features).forces, fitted.predict(features).forces)
    expected, std = fitted.forces_std(features), loaded.forces_std(features)
    assert np.array_equal(std, expected) if asked else std is None


@BOTH
@pytest.mark.parametrize("earlier", [False, True])
def test_an_interrupted_training_of_another_network_starts_again(name: str, earlier: bool, tmp_path: Path) -> None:
    """One of an earlier version has no standard deviation, or, if it was asked for, one that is not wanted now."""
    features = example_features(8)
    whole, resumed = unfitted(name, variance=not earlier), unfitted(name, variance=not earlier)
    fit(whole, features, tmp_path / "whole")

    def stop(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    request = FitRequest(features, features, TRAINING, tmp_path / "cut", 0, stop)
    with pytest.raises(KeyboardInterrupt):
        unfitted(name, variance=earlier).fit(request)
    assert (tmp_path / "cut" / "last.ckpt").exists()
    fit(resumed, features, tmp_path / "cut")
    assert np.array_equal(resumed.predict(features).forces, whole.predict(features).forces)


@BOTH
def test_forces_and_deviation_are_found_in_one_evaluation(name: str, tmp_path: Path) -> None:
    """The deviation is remembered with the forces, and forces are never those of an earlier prediction."""
    features, other, meta = example_features(8), example_features(8, seed=9), unfitted(name)
    fit(meta, features, tmp_path)
    assert meta.network is not None
    expected = meta.forces_std(other)
    with mock.patch.object(meta.network, "predicted", wraps=meta.network.predicted) as evaluate:
        meta.predict(features)
        meta.forces_std(features)
        assert evaluate.call_count == 1
        meta.predict(features)
        assert evaluate.call_count == 2
        assert np.array_equal(meta.forces_std(other), expected)
        assert evaluate.call_count == 3


def test_what_is_learnt_is_asked_for_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features, meta = example_features(8), unfitted("egat")
    fit(meta, features, tmp_path)
    whole = raw_forces_std(features, meta)[0]
    usual = Features.blocks
    monkeypatch.setattr(Features, "blocks", lambda features: usual(features, 16))  # two structures of eight atoms
    found, kind = raw_forces_std(features, meta)
    assert kind == "learnt"
    assert np.allclose(found, whole, rtol=1e-5)
