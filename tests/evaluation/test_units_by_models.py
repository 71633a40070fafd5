"""Labels in other units are refused by base models that were not trained on them; bad base models say nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import DataError
from elmlff_core.evaluation.units import check_units_by_models, energy_slopes, force_slopes
from elmlff_core.settings.config import Config
from elmlff_core.workflows.stack.workflow import build_stack
from tests.conftest import synthetic_features

HARTREE, BOHR, KCAL = units.Hartree, units.Bohr, units.kcal / units.mol


def features_of(
    factors: dict[str, float], noise: dict[str, float], energy: float = 1.0, force: float = 1.0
) -> Features:
    """Make base models whose forces are `factors` times the true ones plus `noise`, and labels in the given units."""
    base = synthetic_features(n_structures=60, n_models=1, noise=0.0)
    assert base.reference is not None
    rng = np.random.default_rng(99)  # other numbers than those of the labels
    true, energies = base.reference.forces, base.reference.energy
    forces = np.stack([factor * true + noise[name] * rng.normal(size=true.shape) for name, factor in factors.items()])
    labels = Prediction(base.n_atoms, true / force, energies / energy)
    predicted = {name: factor * energies + 100.0 for name, factor in factors.items() if noise[name] < 1}
    return Features(base.structures, tuple(factors), forces, predicted, labels, "synthetic")


GOOD, SOFT = ({"good": 1.0}, {"good": 0.1}), ({"soft": 0.75}, {"soft": 0.4})


@pytest.mark.parametrize("models", [GOOD, SOFT])
@pytest.mark.parametrize(
    ("energy", "force", "message"),
    [
        (HARTREE, HARTREE / BOHR, "force labels of synthetic seem to be in Hartree/Bohr"),
        (KCAL, KCAL, "force labels of synthetic seem to be in kcal/mol/Å"),
        (KCAL, 1.0, "energy labels of synthetic seem to be in kcal/mol"),
        (HARTREE, 1.0, "energy labels of synthetic seem to be in Hartree"),
    ],
)
def test_labels_in_other_units(models, energy: float, force: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_units_by_models(features_of(*models, energy, force))
    check_units_by_models(features_of(*models))


def test_slopes_are_those_of_the_units() -> None:
    found = features_of(*GOOD, HARTREE, HARTREE / BOHR)
    assert force_slopes(found)["good"].slope == pytest.approx(51.42, rel=0.02)
    assert energy_slopes(found)["good"].slope == pytest.approx(27.211, rel=1e-3)


@pytest.mark.parametrize("size", [0.04, 20.0, 27.2, 51.4])
def test_a_bad_base_model_is_no_error_of_units(size: float) -> None:
    """Its forces are of a wrong size, but not correlated with the labels; or another model finds these right."""
    check_units_by_models(features_of({"bad": size}, {"bad": 3 * size}))
    check_units_by_models(features_of({"bad": size, "good": 1.0}, {"bad": 0.0, "good": 0.1}))


def test_the_model_with_the_highest_correlation_names_the_unit() -> None:
    """A good model and one with a quarter of the true forces, both against labels in Hartree/Bohr."""
    with pytest.raises(DataError, match="in Hartree/Bohr: what good predicts"):
        check_units_by_models(features_of({"weak": 0.25, "good": 1.0}, {"weak": 0.1, "good": 0.1}, 1.0, HARTREE / BOHR))


@pytest.mark.parametrize("factor", [1 / 23.06, 13.6, 25.7, 51.4])
def test_a_toy_with_forces_of_the_right_pattern_and_a_wrong_size_is_no_error_of_units(factor: float) -> None:
    """Lennard-Jones copper is correlated with the labels; a wrong epsilon gives its forces any size."""
    structures, labels, predicted = [], [], []
    for seed in range(30):
        atoms = bulk("Cu", cubic=True).repeat(2)
        atoms.rattle(0.1, seed=seed)
        for calculator, forces in ((EMT(), labels), (LennardJones(sigma=2.3, rc=6.0, smooth=True), predicted)):
            atoms.calc = calculator
            forces.append(atoms.get_forces())
        atoms.calc = None
        structures.append(atoms)
    reference, own = Prediction.from_lists(labels), np.concatenate(predicted)
    own *= factor * np.linalg.norm(reference.forces) / np.linalg.norm(own)
    features = Features(structures, ("toy",), own[None], {}, reference, "copper")
    assert force_slopes(features)["toy"].correlation > 0.95
    check_units_by_models(features)


def strained_features(factor: float, forces: float = 1.0) -> Features:
    """Make a base model with three quarters of the true stresses and another pressure, and labels times `factor`."""
    base, rng = synthetic_features(n_structures=40, n_models=1, noise=0.0), np.random.default_rng(3)
    stress = rng.normal(scale=0.02, size=(40, 6))
    predicted = 0.75 * stress + rng.normal(scale=0.003, size=(40, 6)) - 0.2
    labels = Prediction(base.n_atoms, base.reference_forces, None, factor * stress)
    found = forces * base.reference_forces[None]
    return Features(base.structures, ("m",), found, {}, labels, "crystals", {"m": predicted})


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (1 / units.GPa, r"seem to be in GPa: what m predicts changes 0\.00"),
        (10 / units.GPa, "seem to be in kbar or meV/Å³"),
        (-1.0, "seem to have the opposite sign"),
        (-10 / units.GPa, "seem to be in kbar or meV/Å³ and to have the opposite sign"),
    ],
)
def test_stresses_in_other_units_or_of_the_other_sign(factor: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_units_by_models(strained_features(factor))
    check_units_by_models(strained_features(1.0))
    check_units_by_models(strained_features(factor, forces=0.1))  # its forces are wrong, so it says nothing
    few = strained_features(factor)
    stress = few.reference.stress.copy()
    stress[9:] = np.nan
    labels = Prediction(few.n_atoms, few.reference_forces, None, stress)
    check_units_by_models(replace(few, reference=labels))


def test_zero_forces_are_no_error_of_units() -> None:
    found = features_of(*GOOD)
    check_units_by_models(replace(found, forces=np.zeros_like(found.forces)))
    check_units_by_models(found.subset([0]))


def write_copper(folder: Path, force: float) -> None:
    """Write ``copper.extxyz`` with labels of EMT without energies: only a base model can tell their unit."""
    structures = []
    for seed in range(24):
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.arrays["REF_forces"] = atoms.get_forces() / force
        atoms.calc = None
        structures.append(atoms)
    ase.io.write(folder / "copper.extxyz", structures)


def test_a_run_stops_and_names_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    morse = {"calculator": "ase.calculators.morse:MorsePotential", "arguments": {"epsilon": 0.3, "r0": 2.6}}
    models = {"morse": {"adapter": "ase", "options": morse},
              "emt": {"adapter": "ase", "options": {"calculator": "ase.calculators.emt:EMT"}}}  # fmt: skip
    config = Config.model_validate({"models": models, "meta": {"name": "linear"}, "data": {"train": "copper.extxyz"}})
    write_copper(tmp_path, HARTREE / BOHR)
    with pytest.raises(
        DataError, match=r"force labels of copper.extxyz .* Hartree/Bohr: what emt predicts is 51\.4 times"
    ):
        build_stack(config, tmp_path / "run")
    write_copper(tmp_path, 1.0)
    build_stack(config, tmp_path / "other")
