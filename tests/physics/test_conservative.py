"""`conservative` with real base models: its forces are minus the gradient of its energy, to their precision."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.errors import DataError, ElmlffError
from elmlff_core.meta.conservative import ConservativeMeta
from elmlff_core.meta.options import ConservativeOptions
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.stack.calculator import StackCalculator
from elmlff_core.stack.stack import Stack
from tests.physics.conftest import BaseModels

STENCIL = {-2: 1.0, -1: -8.0, 1: 8.0, 2: -1.0}  # fourth order: sum of c E(x + k h) over 12 h


@pytest.fixture(scope="module", params=["environment", "fixed"])
def meta(request, learnt_from: tuple[Features, Features], tmp_path_factory: pytest.TempPathFactory):
    train, valid = learnt_from
    meta = ConservativeMeta(ConservativeOptions(weights=request.param, width=16, layers=2, heads=4))
    training = TrainingConfig(epochs=20, batch_size=4, device="cpu", learning_rate=1e-2, energy_weight=1.0)
    meta.fit(FitRequest(train, valid, training, tmp_path_factory.mktemp("conservative"), 0, lambda _: None))
    combined = np.einsum("m,mrx->rx", meta.energy.weights, valid.forces)
    learnt = np.abs(meta.predict(valid).forces - combined).max()
    assert learnt > 1e-3  # the network takes part in what is tested here
    return meta


@pytest.fixture
def exact(meta):
    """The same in double precision, so that differences of energies over small steps have enough digits."""
    exact = copy.deepcopy(meta)
    exact.network.double()
    return exact


@pytest.fixture(params=["molecule", "crystal"])
def atoms(request, crystal: Atoms, learnt_from: tuple[Features, Features]) -> Atoms:
    return crystal if request.param == "crystal" else learnt_from[1].structures[0]


def test_forces_are_the_gradient_of_the_energy(exact, atoms: Atoms, base_models: BaseModels):
    step = 5e-4  # Å
    forces = exact.predict(base_models.features([atoms])).forces
    moved = []
    for atom in range(len(atoms)):
        for axis in range(3):
            for shift in STENCIL:
                moved.append(atoms.copy())
                moved[-1].positions[atom, axis] += shift * step
    energies = exact.predict(base_models.features(moved)).energy.reshape(-1, len(STENCIL))
    gradient = energies @ np.array(list(STENCIL.values())) / (12 * step)
    assert np.abs(forces + gradient.reshape(-1, 3)).max() / np.abs(forces).max() < 1e-6


def test_stress_is_the_strain_derivative_of_the_energy(exact, crystal: Atoms, base_models: BaseModels):
    step = 2e-4
    stress = exact.predict(base_models.features([crystal])).stress
    assert stress is not None
    for voigt, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        strained = []
        for shift in STENCIL:
            strain = np.eye(3)
            strain[i, j] += shift * step / 2
            strain[j, i] += shift * step / 2
            strained.append(crystal.copy())
            strained[-1].set_cell(crystal.cell.array @ strain, scale_atoms=True)
        energies = exact.predict(base_models.features(strained)).energy
        slope = energies @ np.array(list(STENCIL.values())) / (12 * step) / crystal.get_volume()
        assert stress[0, voigt] == pytest.approx(slope, rel=1e-5, abs=1e-6 * np.abs(stress).max())


def test_single_precision_rounds_little(meta, exact, atoms: Atoms, base_models: BaseModels):
    features = base_models.features([atoms])
    found, expected = meta.predict(features), exact.predict(features)
    assert found.energy.dtype == found.forces.dtype == np.float64
    assert np.abs(found.forces - expected.forces).max() < 1e-5  # eV/Å
    assert np.abs(found.energy - expected.energy).max() < 1e-6 * len(atoms)  # eV


def test_energies_have_the_zero_of_the_reference(meta, learnt_from: tuple[Features, Features]):
    """Base models have other zeros of energy; after alignment the error is smaller than the variation of energies."""
    train, _ = learnt_from
    error = meta.predict(train).energy - train.reference.energy
    assert np.sqrt((error**2).mean()) < 0.5 * train.reference.energy.std()


def test_saved_and_loaded_is_the_same(meta, crystal: Atoms, base_models: BaseModels, tmp_path: Path):
    features = base_models.features([crystal])
    meta.save(tmp_path)
    loaded = ConservativeMeta(meta.options)
    loaded.load(tmp_path)
    found, expected = loaded.predict(features), meta.predict(features)
    assert np.array_equal(found.forces, expected.forces)
    assert np.array_equal(found.energy, expected.energy)
    assert np.array_equal(found.stress, expected.stress)


def test_without_base_models_it_is_a_potential(learnt_from, crystal: Atoms, base_models: BaseModels, tmp_path: Path):
    train, valid = (features.of_models(()) for features in learnt_from)
    alone = ConservativeMeta(ConservativeOptions(width=16, layers=2, heads=4))
    training = TrainingConfig(epochs=20, batch_size=4, device="cpu", learning_rate=1e-2, energy_weight=1.0)
    alone.fit(FitRequest(train, valid, training, tmp_path, 0, lambda _: None))
    alone.network.double()
    features = base_models.features([crystal]).of_models(())
    forces = alone.predict(features).forces
    step = 1e-4
    ends = []
    for sign in (1, -1):
        moved = crystal.copy()
        moved.positions[3, 1] += sign * step
        ends.append(alone.predict(base_models.features([moved]).of_models(())).energy[0])
    assert np.abs(forces).max() > 1e-2
    assert forces[3, 1] == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-5)


def test_energies_are_needed(learnt_from: tuple[Features, Features], tmp_path: Path):
    train, valid = learnt_from
    training = TrainingConfig(epochs=1, batch_size=4, device="cpu")
    forces_only = replace(train, energies={name: train.energies[name] for name in train.models[:1]})
    with pytest.raises(ElmlffError, match=f"{', '.join(train.models[1:])} gives none"):
        ConservativeMeta(ConservativeOptions()).fit(FitRequest(forces_only, valid, training, tmp_path, 0, print))
    unlabelled = replace(train, reference=Prediction(train.n_atoms, train.reference_forces))
    with pytest.raises(DataError, match="reference energies"):
        ConservativeMeta(ConservativeOptions()).fit(FitRequest(unlabelled, valid, training, tmp_path, 0, print))


class StackOfBaseModels(Stack):
    """A stack that predicts with the base models of the test."""

    base_models: BaseModels

    def features(self, structures, dataset=None, first=0) -> Features:
        return self.base_models.features(structures, dataset)


def test_the_calculator_gives_stress(meta, crystal: Atoms, base_models: BaseModels):
    stack = StackOfBaseModels([], "conservative", {}, meta)
    stack.base_models = base_models
    crystal.calc = StackCalculator(stack)
    assert np.array_equal(crystal.get_stress(), meta.predict(base_models.features([crystal])).stress[0])
    crystal.pbc = False
    with pytest.raises(PropertyNotImplementedError):
        crystal.get_stress()
