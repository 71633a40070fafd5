"""`ace` on strained copper: two Morse potentials as base models, labels by effective medium theory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.protocols import Compiles, FitRequest
from elmlff_core.errors import DataError, ElmlffError
from elmlff_core.features.metrics import mean_rmse_per_frame
from elmlff_core.meta.ace import ACEMeta
from elmlff_core.meta.linear import LinearMeta, LinearOptions
from elmlff_core.meta.options import ACEOptions
from elmlff_core.stack.frames import committee_energies
from tests.meta.test_stress_training import features_of, strained, strained_parts

SMALL = ACEOptions(cutoff=5.0, functions=100)


def fitted(train: Features, valid: Features, options: ACEOptions = SMALL, seed: int = 0) -> ACEMeta:
    meta = ACEMeta(options)
    meta.fit(FitRequest(train, valid, None, Path(), seed, lambda _: None))
    return meta


@pytest.fixture(scope="module")
def parts() -> tuple[Features, Features, Features]:
    return strained_parts()


@pytest.fixture(scope="module")
def meta(parts) -> ACEMeta:
    return fitted(parts[0], parts[1])


def test_it_learns_from_twelve_cells_what_the_linear_combination_cannot(parts, meta):
    train, valid, test = parts
    linear = LinearMeta(LinearOptions())
    linear.fit(FitRequest(train, valid, None, Path(), 0, lambda _: None))
    errors = [mean_rmse_per_frame(one.predict(test).forces, test) for one in (linear, meta)]
    assert errors[1] < 0.2 * errors[0]
    assert errors[1] < 0.01  # eV/Å
    found = meta.predict(test)
    per_atom = (found.energy - test.reference.energy) / test.n_atoms
    assert np.abs(per_atom).max() < 0.01  # eV
    assert np.abs(found.stress - test.reference.stress).max() < 0.1 * np.abs(test.reference.stress).max()


def test_shares_add_up_and_the_energy_is_that_of_the_forces(parts, meta):
    assert meta.energy.weights.sum() == pytest.approx(1)
    assert meta.energy.weights[:-1] == pytest.approx(meta.network.shares[0, :-1].numpy())
    atoms, step = strained(40), 1e-3
    forces = meta.predict(features_of([atoms], labelled=False)).forces
    moved = []
    for atom in range(len(atoms)):
        for axis in range(3):
            for shift in (-2, -1, 1, 2):
                moved.append(atoms.copy())
                moved[-1].positions[atom, axis] += shift * step
    energies = meta.predict(features_of(moved, labelled=False)).energy.reshape(-1, 4)
    gradient = energies @ np.array([1, -8, 8, -1]) / (12 * step)
    assert np.abs(forces + gradient.reshape(-1, 3)).max() / np.abs(forces).max() < 1e-6


def test_it_needs_no_base_models_and_is_extensive(parts):
    train, valid, test = (part.of_models(()) for part in parts)
    meta = fitted(train, valid)
    assert mean_rmse_per_frame(meta.predict(test).forces, test) < 0.05
    atoms = strained(41)
    one, two = (
        meta.predict(features_of([cells], labelled=False).of_models(())) for cells in (atoms, atoms * (2, 1, 1))
    )
    assert two.energy[0] == pytest.approx(2 * one.energy[0], rel=1e-9)


def test_what_is_loaded_predicts_the_same(parts, meta, tmp_path):
    meta.save(tmp_path)
    loaded = ACEMeta(SMALL)
    loaded.load(tmp_path)
    test = parts[2]
    assert np.array_equal(loaded.predict(test).forces, meta.predict(test).forces)
    assert np.array_equal(loaded.predict(test).energy, meta.predict(test).energy)
    assert np.array_equal(loaded.forces_std(test), meta.forces_std(test))
    assert loaded.n_parameters == meta.n_parameters == meta.network.n_functions + 3  # two weights and a constant


def test_base_energies_have_the_zero_of_the_labels(parts, meta):
    stack = SimpleNamespace(alignment=meta.energy)
    train = parts[0]
    found = committee_energies(stack, train)
    assert found.shape == (2, len(train))
    assert np.allclose((found - train.reference.energy).mean(axis=1), 0, atol=1e-9)
    assert committee_energies(stack, train.of_models(())) is None


def test_uncertainty_has_the_size_of_errors_on_validation_structures(parts, meta):
    valid = parts[1]
    errors = meta.predict(valid).forces - valid.reference_forces
    assert np.sqrt(np.mean(meta.forces_std(valid) ** 2)) == pytest.approx(np.sqrt(np.mean(errors**2)))


def test_uncertainty_grows_outside_and_forces_depend_on_no_seed(parts, meta):
    inside = meta.forces_std(parts[2])
    pressed = []
    for seed in range(30, 36):
        pressed.append(strained(seed))
        pressed[-1].set_cell(0.88 * pressed[-1].cell, scale_atoms=True)
    assert np.median(meta.forces_std(features_of(pressed, labelled=False))) > 3 * np.median(inside)
    other = fitted(parts[0], parts[1], seed=7)
    assert np.array_equal(other.predict(parts[2]).forces, meta.predict(parts[2]).forces)
    assert not np.array_equal(other.forces_std(parts[2]), inside)


def test_with_few_validation_structures_training_structures_choose_too(parts, monkeypatch):
    train, valid, test = parts
    one = valid.subset([0])
    wrong = replace(one, reference=replace(one.reference, forces=0 * one.reference.forces))  # wants a strong ridge
    assert mean_rmse_per_frame(fitted(train, wrong).predict(test).forces, test) < 0.01
    monkeypatch.setattr("elmlff_core.meta.ace_fit.ENOUGH_TO_VALIDATE", 1)
    assert mean_rmse_per_frame(fitted(train, wrong).predict(test).forces, test) > 0.05


def test_validation_structures_choose_the_ridge(parts, monkeypatch):
    train, valid, _ = parts
    monkeypatch.setattr("elmlff_core.meta.ace_fit.ENOUGH_TO_VALIDATE", 1)
    errors = {}
    for strength in (1e-13, 1e-6, 1.0):
        monkeypatch.setattr("elmlff_core.meta.ace_fit.STRENGTHS", np.array([strength]))
        errors[strength] = mean_rmse_per_frame(fitted(train, valid).predict(valid).forces, valid)
    monkeypatch.setattr("elmlff_core.meta.ace_fit.STRENGTHS", np.array(list(errors)))
    assert mean_rmse_per_frame(fitted(train, valid).predict(valid).forces, valid) == pytest.approx(min(errors.values()))


def test_what_is_missing_is_said(parts, monkeypatch):
    train, valid, _ = parts
    with pytest.raises(ElmlffError, match="'ace' needs energies of every base model; soft, hard gives none"):
        fitted(replace(train, energies={}), valid)
    with pytest.raises(DataError, match="'ace' learns an energy: the training structures need reference energies"):
        fitted(replace(train, reference=replace(train.reference, energy=None)), valid)
    monkeypatch.setattr("elmlff_core.meta.ace.MOST_FUNCTIONS", 500)
    with pytest.raises(ElmlffError, match=r"'ace' has 2,\d+ functions of degree 20, and 500 are possible"):
        fitted(train, valid, ACEOptions(degree=20))
    meta = fitted(train, valid)
    assert not isinstance(meta, Compiles)
    silver = features_of([bulk("Ag", cubic=True)], labelled=False)
    with pytest.raises(ElmlffError, match=r"atomic numbers \[47\] are not in the training data"):
        meta.predict(silver)
