"""Copies of a calculator, its stress, and the reasons it gives where there is none."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from elmlff_core import StackCalculator
from elmlff_core.base_models.named import NamedModel, named_model
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.data.labels import dataset_from_structures
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.settings.config import ModelConfig, TrainingConfig
from elmlff_core.stack.stack import Stack, load_stack
from tests.stack.copper import copper

MORSE = "ase.calculators.morse:MorsePotential"


def morse(name: str, epsilon: float, python: str | None = None, calculator: str = MORSE) -> NamedModel:
    arguments = {"epsilon": epsilon, "r0": 2.6} if calculator == MORSE else {}
    options = {"calculator": calculator, "arguments": arguments}
    return named_model(name, ModelConfig(adapter="ase", python=python, options=options))


@pytest.fixture
def fitted(tmp_path: Path) -> Callable[..., Stack]:
    """Return a function that fits a meta-model to copper, on two Morse potentials unless others are given."""

    def fit(meta: str, models: list[NamedModel] | None = None, **options: object) -> Stack:
        models = models or [morse("soft", 0.3), morse("hard", 0.5)]
        stack = Stack(models, meta, options, make_meta(meta, options))
        data = dataset_from_structures([copper(seed) for seed in range(12)], "copper")
        features = stack.features(data.structures, data)
        training = TrainingConfig(epochs=1, device="cpu").with_defaults({"batch_size": 4})
        stack.meta.fit(FitRequest(features, features, training, tmp_path, 0, lambda _: None))
        return stack

    return fit


def copied(calculator: StackCalculator, way: str) -> StackCalculator:
    return copy.deepcopy(calculator) if way == "deepcopy" else pickle.loads(pickle.dumps(calculator))


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
@pytest.mark.parametrize("meta", ["linear", "egat"])
def test_a_copy_after_a_calculation_gives_the_same(fitted, meta, way):
    calculator = StackCalculator(fitted(meta))
    atoms = copper(99)
    atoms.calc = calculator
    forces = atoms.get_forces()
    other = copied(calculator, way)
    assert np.array_equal(other.results["forces"], forces)
    other.reset()
    atoms.calc = other
    assert np.array_equal(atoms.get_forces(), forces)


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_the_copy_has_workers_of_its_own(fitted, way):
    stack = fitted("mean", [morse("soft", 0.3, "self"), morse("hard", 0.5)])
    calculator = StackCalculator(stack)
    atoms = copper(99)
    forces = calculator.get_forces(atoms)
    other = copied(calculator, way)
    stack.close()
    try:
        assert "force_field" not in other.stack.base_models[0].__dict__
        other.reset()
        assert np.array_equal(other.get_forces(atoms), forces)
        assert other.stack.base_models[0].force_field is not stack.base_models[0].force_field
    finally:
        other.stack.close()


def test_the_home_folder_may_be_written_as_a_tilde(fitted, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fitted("mean").save(Path("~/runs/copper"))
    assert (tmp_path / "runs" / "copper" / "stack.json").exists()
    atoms = copper(99)
    assert np.array_equal(
        StackCalculator("~/runs/copper").get_forces(atoms), load_stack(tmp_path / "runs/copper").predict([atoms]).forces
    )
    settings = ModelConfig(checkpoint="~/nep.txt", python="~/env/bin/python")
    assert settings.checkpoint == tmp_path / "nep.txt"
    assert settings.python == str(tmp_path / "env/bin/python")


@pytest.mark.parametrize("meta", ["mean", "linear", "conservative"])
def test_stress_is_the_derivative_of_the_energy(fitted, meta):
    atoms = copper(99)
    atoms.calc = StackCalculator(fitted(meta))
    expected = calculate_numerical_stress(atoms, eps=1e-4)
    assert np.abs(expected).max() > 1e-3
    assert atoms.get_stress() == pytest.approx(expected, abs=1e-6)


def test_forces_of_the_mean_are_the_gradient_of_its_energy(fitted):
    atoms = copper(99)
    atoms.calc = StackCalculator(fitted("mean"))
    assert atoms.get_forces() == pytest.approx(calculate_numerical_forces(atoms, eps=1e-4), abs=1e-6)


def why(stack: Stack, atoms: Atoms, name: str = "stress") -> str:
    with pytest.raises(PropertyNotImplementedError) as caught:
        StackCalculator(stack).get_property(name, atoms)
    return str(caught.value)


def test_the_error_names_the_meta_models_that_have_stress(fitted):
    reason = why(fitted("egat"), copper(99))
    assert "'egat' of this stack gives no stress" in reason
    assert all(name in reason for name in ("'mean'", "'linear'", "'conservative'"))
    assert "median" not in reason


def test_the_error_names_the_directions_that_are_periodic(fitted):
    slab = copper(99)
    slab.pbc = [True, True, False]
    assert "periodic in all directions, this one is in a, b" in why(fitted("mean"), slab)
    slab.pbc = False
    assert "this one is in none" in why(fitted("mean"), slab)


def test_the_error_names_the_base_model_without_stress(fitted):
    spring = morse("spring", 0.0, calculator="tests.worker.calculators:Spring")
    stack = fitted("linear", [morse("soft", 0.3), spring])
    assert "spring gives none" in why(stack, copper(99))


def test_a_batch_with_a_cluster_in_it_has_no_stress(fitted):
    cluster = copper(98)
    cluster.pbc = False
    stack = fitted("linear")
    assert stack.predict([copper(99), cluster]).stress is None
    assert stack.predict([copper(99)]).stress is not None


def test_without_reference_energies_the_error_says_so(fitted, tmp_path):
    stack = fitted("linear")
    labelled = dataset_from_structures([copper(seed) for seed in range(4)], "copper")
    features = stack.features(labelled.structures, replace(labelled, energy=None))
    stack.meta.fit(FitRequest(features, features, None, tmp_path, 0, lambda _: None))
    assert "structures without reference energies" in why(stack, copper(99), "energy")
    assert "structures without reference energies" in why(stack, copper(99), "stress")
