"""`egat-ace` and `conservative-ace`: strained copper, two Morse potentials, labels by effective medium theory."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.errors import ElmlffError
from elmlff_core.features.metrics import mean_rmse_per_frame
from elmlff_core.meta.ace import ACEMeta
from elmlff_core.meta.ace_fit import N_FOLDS
from elmlff_core.meta.on_ace import ConservativeOnACEMeta, EGATOnACEMeta, OnACEMeta
from elmlff_core.meta.options import ACEOptions, ConservativeOnACEOptions, EGATOnACEOptions
from elmlff_core.settings.config import TrainingConfig
from tests.meta.test_stress_training import features_of, strained, strained_parts

ACE = ACEOptions(cutoff=5.0, functions=20, environments=0)  # few, so that something is left to the network
SMALL = {"width": 16, "layers": 2, "heads": 2, "ace": ACE}
TRAINING = TrainingConfig(
    epochs=60, batch_size=4, device="cpu", learning_rate=5e-3, loss="norm", averaging=0.9, energy_weight=0.0
)


def request_for(train: Features, valid: Features, folder: Path) -> FitRequest:
    return FitRequest(train, valid, TRAINING, folder, 0, lambda _: None)


@pytest.fixture(scope="module")
def parts() -> list[Features]:
    seeds = range(100, 148), range(20, 26), range(30, 36)
    return [features_of([strained(seed) for seed in some]) for some in seeds]


def egat_ace() -> OnACEMeta:
    return EGATOnACEMeta(EGATOnACEOptions(**SMALL))


def conservative_ace() -> OnACEMeta:
    return ConservativeOnACEMeta(ConservativeOnACEOptions(**SMALL))


@pytest.fixture(scope="module", params=[egat_ace, conservative_ace], ids=["egat", "conservative"])
def make(request) -> Callable[[], OnACEMeta]:
    return request.param


@pytest.fixture(scope="module")
def meta(make, parts, tmp_path_factory) -> OnACEMeta:
    meta = make()
    meta.fit(request_for(parts[0], parts[1], tmp_path_factory.mktemp("fit")))
    return meta


def error(meta: ACEMeta | OnACEMeta, features: Features) -> float:
    return float(mean_rmse_per_frame(meta.predict(features).forces, features))


def test_it_errs_less_than_ace(parts, meta):
    alone = ACEMeta(ACE)
    alone.fit(request_for(parts[0], parts[1], Path()))
    assert np.allclose(alone.predict(parts[2]).forces, meta.ace.predict(parts[2]).forces, rtol=0, atol=1e-9)
    assert meta.ace.forces_std(parts[2]) is None
    for part in parts[1:]:
        assert error(meta, part) < 0.8 * error(alone, part)
    found, labels = meta.predict(parts[2]), parts[2].reference
    assert np.abs(found.energy - labels.energy).max() / 4 < 0.02  # eV an atom
    assert np.abs(found.stress - labels.stress).max() < 0.2 * np.abs(labels.stress).max()


def test_training_structures_are_predicted_without_themselves(monkeypatch):
    train, valid, _ = strained_parts()
    monkeypatch.setattr("elmlff_core.meta.ace_fit.STRENGTHS", np.array([1e-6]))
    meta = ACEMeta(ACE)
    found = meta.fit_and_predict(request_for(train, valid, Path()))
    left_out = mean_rmse_per_frame(found.forces, train)
    assert left_out > 1.2 * error(meta, train)  # it knows them by heart
    # Without the labels of a structure its prediction is the same, and those of structures in other folds change.
    folds = [set(np.random.default_rng(0).permutation(12)[start::N_FOLDS]) for start in range(N_FOLDS)]
    wrong = features_of([strained(seed) for seed in range(12)])
    wrong.reference.forces[wrong.rows([3])] *= 3
    again = ACEMeta(ACE).fit_and_predict(request_for(wrong, valid, Path()))
    with_it = next(fold for fold in folds if 3 in fold)
    for number in range(12):
        rows = train.rows([number])
        change = np.abs(again.forces[rows] - found.forces[rows]).max()
        assert (change < 1e-9) == (number in with_it)


@pytest.mark.parametrize("make", [conservative_ace], indirect=True, ids=["conservative"])
def test_forces_and_stress_are_derivatives_of_the_energy(meta):
    exact = copy.deepcopy(meta)
    exact.top.network.double()
    atoms, step = strained(40), 1e-4
    moved, stretched = [], []
    for sign in (1, -1):
        moved.append(atoms.copy())
        moved[-1].positions[2, 1] += sign * step
        strain = np.eye(3)
        strain[0, 0] += sign * step
        stretched.append(atoms.copy())
        stretched[-1].set_cell(atoms.cell.array @ strain, scale_atoms=True)
    found, ends = (exact.predict(features_of(some)) for some in ([atoms], moved + stretched))
    slopes = (ends.energy[::2] - ends.energy[1::2]) / (2 * step)
    assert found.forces[2, 1] == pytest.approx(-slopes[0], rel=1e-5, abs=1e-6)
    assert found.stress[0, 0] == pytest.approx(slopes[1] / atoms.get_volume(), rel=1e-5, abs=1e-7)


def test_stresses_of_training_structures_are_out_of_fold_too(monkeypatch):
    monkeypatch.setattr("elmlff_core.meta.ace_fit.STRENGTHS", np.array([1e-6]))
    train, valid, _ = strained_parts()
    meta = ACEMeta(ACE)
    found = meta.fit_and_predict(request_for(train, valid, Path()))
    by_heart, labels = meta.predict(train).stress, train.reference.stress
    assert np.abs(found.stress - labels).mean() > 1.1 * np.abs(by_heart - labels).mean()
    without = [replace(part, stresses={}) for part in (train, valid)]
    assert ACEMeta(ACE).fit_and_predict(request_for(*without, Path())).stress is None


def test_what_is_loaded_predicts_the_same(make, parts, meta, tmp_path):
    meta.save(tmp_path)
    loaded = make()
    loaded.load(tmp_path)
    test = parts[2]
    assert np.array_equal(loaded.predict(test).forces, meta.predict(test).forces)
    assert np.array_equal(loaded.predict(test).energy, meta.predict(test).energy)
    assert np.array_equal(loaded.predict(test).stress, meta.predict(test).stress)
    assert np.array_equal(loaded.forces_std(test), meta.forces_std(test))
    assert loaded.n_parameters == meta.n_parameters > meta.ace.n_parameters > 0
    assert loaded.energy.models == ("soft", "hard", "(ace)")


def test_an_interrupted_fit_goes_on_after_ace(make, parts, meta, tmp_path, monkeypatch):
    class StoppedError(Exception):
        pass

    def stop(*_):
        raise StoppedError

    request = request_for(parts[0], parts[1], tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("elmlff_core.meta.equivariant_meta.EquivariantMeta.fit", stop)
        with pytest.raises(StoppedError):
            make().fit(request)
    assert (tmp_path / "ace").exists()
    monkeypatch.setattr("elmlff_core.meta.ace.ACEMeta.fit_and_predict", stop)
    again = make()
    again.fit(request)
    assert np.array_equal(again.predict(parts[2]).forces, meta.predict(parts[2]).forces)
    assert not (tmp_path / "ace").exists()


def test_one_training_structure_is_predicted_by_nothing(parts):
    train = parts[0].subset([0])
    found = ACEMeta(ACE).fit_and_predict(request_for(train, parts[1], Path()))
    assert not found.forces.any()


def test_it_needs_no_base_models(make, parts, tmp_path):
    train, valid, test = (part.of_models(()) for part in parts)
    meta = make()
    meta.fit(request_for(train, valid, tmp_path))
    assert error(meta, test) < 0.1


def test_it_refuses_masks(make, parts, tmp_path):
    request = FitRequest(parts[0], parts[1], TRAINING, tmp_path, 0, lambda _: None, masks=object())
    with pytest.raises(ElmlffError, match="cannot be fitted with base models masked"):
        make().fit(request)
