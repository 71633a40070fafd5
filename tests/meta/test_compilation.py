"""Compiled networks: results equal up to rounding, and trainings without a compiler."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.graphs.network import Network
from elmlff_core.meta.egat import EGATMeta
from elmlff_core.meta.options import EGATOptions
from elmlff_core.meta.training.compilation import LONG_TRAINING, worth_compiling
from elmlff_core.settings.config import TrainingConfig
from tests.conftest import synthetic_features

OPTIONS = EGATOptions(width=8, layers=1, heads=2)


def fitted(folder, features, **settings):
    """Return the forces after a short training, and its messages."""
    training = TrainingConfig(**{"epochs": 20, "batch_size": 8, "learning_rate": 1e-2, "device": "cpu"} | settings)
    meta, said = EGATMeta(OPTIONS), []
    meta.fit(FitRequest(features, features, training, folder, 0, lambda progress: said.append(progress.message)))
    return meta.predict(features).forces, said


class Gains(Network):
    compiles = True


def test_compilation_depends_on_network_and_length_of_training():
    settings, n_atoms = TrainingConfig(epochs=10), np.full(LONG_TRAINING // 500, 50)
    assert worth_compiling(Gains(), settings, n_atoms)
    assert not worth_compiling(Gains(), settings, n_atoms[1:])
    assert not worth_compiling(Network(), settings, n_atoms)
    assert not worth_compiling(Gains(), settings, np.append(n_atoms, 51))


@pytest.mark.parametrize("said", [True, False])
def test_the_setting_of_the_user_decides(said):
    for network, n_atoms in ((Gains(), np.full(LONG_TRAINING, 50)), (Network(), np.array([1]))):
        assert worth_compiling(network, TrainingConfig(epochs=10, compile=said), n_atoms) is said


def test_a_compiled_training_ends_with_the_same_forces(tmp_path, monkeypatch):
    # All steps of torch.compile except the C++ compiler, which takes minutes.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    features = synthetic_features(n_structures=20)
    plain, _ = fitted(tmp_path / "plain", features)
    faster, said = fitted(tmp_path / "faster", features, compile=True)
    assert "compiled" in said
    untrained, _ = fitted(tmp_path / "untrained", features, epochs=0)
    assert np.abs(plain - untrained).max() > 0.02  # otherwise two trainings without any effect would agree
    np.testing.assert_allclose(faster, plain, atol=1e-3)


def test_without_a_compiler_the_training_continues_with_a_message(tmp_path, monkeypatch):
    def fails(network, **_):
        def forward(batch):
            raise RuntimeError("there is no compiler\nand more")

        return forward

    monkeypatch.setattr(torch, "compile", fails)
    features = synthetic_features(n_structures=20)
    plain, _ = fitted(tmp_path / "plain", features)
    without, said = fitted(tmp_path / "without", features, compile=True)
    assert "not compiled: there is no compiler" in said
    np.testing.assert_array_equal(without, plain)


def test_a_fused_optimiser_takes_the_same_steps(tmp_path, monkeypatch):
    features, seen = synthetic_features(n_structures=20), []

    class Adam(torch.optim.Adam):
        def __init__(self, parameters, **settings):
            seen.append(settings["fused"])
            super().__init__(parameters, **settings)

    monkeypatch.setattr(torch.optim, "Adam", Adam)
    plain, _ = fitted(tmp_path / "plain", features)
    fused, _ = fitted(tmp_path / "fused", features, fused=True)
    assert seen == [False, True]  # the default is fused only on a GPU
    np.testing.assert_allclose(fused, plain, atol=1e-3)


def test_bfloat16_trains_to_about_the_same_error(tmp_path):
    features = synthetic_features(n_structures=40)
    errors = [
        np.sqrt(np.square(fitted(tmp_path / kind, features, precision=kind)[0] - features.reference_forces).mean())
        for kind in ("float32", "bfloat16")
    ]
    assert errors[0] != errors[1]
    assert errors[1] == pytest.approx(errors[0], rel=0.05)
