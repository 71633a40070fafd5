"""The report of a real run: two Morse potentials of copper, with EMT labels along a trajectory."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from ase.md.verlet import VelocityVerlet

from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.readers import read_dataset
from elmlff_core.settings.config import Config, DataConfig, ModelConfig
from elmlff_core.stack.stack import load_stack
from elmlff_core.workflows.evaluate import evaluate_stack
from elmlff_core.workflows.stack.workflow import StackRun, build_stack

MORSE = {"calculator": "ase.calculators.morse:MorsePotential"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a trajectory of hot copper in small time steps."""
    folder = tmp_path_factory.mktemp("copper")
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.12, seed=0)
    atoms.calc = EMT()
    dynamics = VelocityVerlet(atoms, 3 * units.fs)
    frames = []
    dynamics.attach(lambda: frames.append(atoms.copy()), interval=1)
    dynamics.run(119)
    for frame in frames:
        frame.calc = EMT()
        frame.get_forces()
        frame.get_stress()
    ase.io.write(folder / "md.extxyz", frames)
    return folder


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory) -> StackRun:
    """A finished run on the trajectory."""
    models = {
        name: ModelConfig(adapter="ase", options=MORSE | {"arguments": {"epsilon": epsilon, "r0": 2.6}})
        for name, epsilon in (("soft", 0.3), ("hard", 0.5))
    }
    config = Config(
        data=DataConfig(train=str(folder / "md.extxyz")),
        models=models,
        base_models=tuple(models),
        meta={"name": "linear"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELMLFF_CACHE", str(tmp_path_factory.mktemp("cache")))
        return build_stack(config, folder / "run")


@pytest.fixture(scope="module")
def diagnostics(run) -> dict:
    """The diagnostics of the run, read from its folder."""
    return json.loads((run.folder / "diagnostics.json").read_text())


def test_a_random_split_of_a_trajectory_causes_a_note(run, diagnostics):
    assert diagnostics["split"]["is_trajectory"]
    unknown, note = run.notes
    assert unknown.startswith("Whether soft or hard were trained on test structures cannot be known")
    assert note == diagnostics["split_statement"]
    assert "Use --split blocks" in note


def test_the_worst_frames_have_their_index_in_the_dataset(run, diagnostics):
    split = json.loads((run.folder / "metrics.json").read_text())["splits"]
    frames = ase.io.read(run.folder.parent / "md.extxyz", ":")
    found = next(entry for entry in diagnostics["errors"] if entry["name"] == "stack (linear)")["worst"]
    predicted = load_stack(run.folder).predict([frames[i] for i in split["test"]])
    errors = {
        place: np.sqrt(((predicted.forces_of(n) - frames[place].get_forces()) ** 2).mean())
        for n, place in enumerate(split["test"])
    }
    assert found[0]["index"] == max(errors, key=errors.get)
    assert found[0]["rmse"] == pytest.approx(max(errors.values()), rel=1e-5)


def test_the_page_shows_the_results(run, diagnostics):
    html = (run.folder / "report.html").read_text()
    text = re.sub(r"<[^>]+>", "|", html)
    assert run.summary in text.replace("&#39;", "'")
    for model in run.errors:
        assert f"{model.headline:.4f}" in text
    titles = re.findall(r"<h2[^>]*>([^<]+)</h2>", html)
    assert titles == [
        "Summary", "Errors", "Parity", "Learning", "Training and test errors", "Test and training structures",
        "Noise of the labels", "Errors in detail", "Uncertainty", "Settings", "Versions", "How to cite",
    ]  # fmt: skip
    for entry in diagnostics["uncertainty"]["forces"]["coverage"]:
        assert f"|{100 * entry['normal']:.1f} %|" in text
    assert {path.stem for path in (run.folder / "figures").glob("*.svg")} == {
        "parity_forces", "parity_energies", "parity_stresses", "learning_curve", "residuals_by_element",
        "errors_by_force", "uncertainty_forces", "uncertainty_energies",
    }  # fmt: skip
    assert html.count('role="img"') == 8
    assert diagnostics["labels"]["train"]["net_force"] == pytest.approx(0, abs=1e-6)


def errors_by_hand(folder: Path, splits: dict) -> dict[str, dict[str, float]]:
    """The energy (meV/atom) and stress (meV/Å³) errors on test structures, from the calculators and NumPy alone."""
    frames = ase.io.read(folder / "md.extxyz", ":")
    labels = np.array([frame.get_potential_energy() for frame in frames])
    stress = np.array([frame.get_stress() for frame in frames])
    found, predictions = {}, {}
    for name, epsilon in (("soft", 0.3), ("hard", 0.5)):
        calculator = MorsePotential(epsilon=epsilon, r0=2.6)
        energies, stresses = np.empty(120), np.empty((120, 6))
        for place, frame in enumerate(frames):
            energies[place] = calculator.get_potential_energy(frame)
            stresses[place] = calculator.get_stress(frame)
        predictions[name] = energies, stresses
    predictions["mean of the base models"] = tuple(sum(pair) / 2 for pair in zip(*predictions.values(), strict=True))
    for name, (energies, stresses) in predictions.items():
        # All structures have eight atoms of copper, so that the offset of the element is the mean difference.
        error = energies - labels - (energies - labels)[splits["train"]].mean()
        test = splits["test"]
        found[name] = {
            "energy_rmse_per_atom": np.sqrt((error[test] ** 2).mean()) / 8,
            "energy_mae_per_atom": np.abs(error[test]).mean() / 8,
            "stress_rmse": np.sqrt(((stresses - stress)[test] ** 2).mean()),
            "stress_mae": np.abs((stresses - stress)[test]).mean(),
        }
    return found


def test_energy_and_stress_errors_stand_beside_those_of_forces(run, folder):
    expected = errors_by_hand(folder, json.loads((run.folder / "metrics.json").read_text())["splits"])
    found = {model.name: model.errors["test"] for model in run.errors}
    for name, values in expected.items():
        assert {metric: found[name][metric] for metric in values} == pytest.approx(values, rel=1e-6)
    assert found["stack (linear)"]["stress_rmse"] < found["mean of the base models"]["stress_rmse"]
    html = (run.folder / "report.html").read_text()
    with (run.folder / "metrics.csv").open() as file:
        rows = {(row["name"], row["split"], row["metric"]): row for row in csv.DictReader(file)}
    for name, values in expected.items():
        for metric, value in values.items():
            assert f"{1000 * value:.3f}" in html
            row = rows[name, "test", metric]
            assert float(row["value"]) == pytest.approx(value, rel=1e-5)
            assert row["unit"] == ("eV/Å³" if "stress" in metric else "eV/atom")
    assert "The energy errors of" not in html  # mean and linear combination are different energies


def test_evaluate_aligns_energies_to_the_training_structures_of_the_stack(run, folder):
    splits = json.loads((run.folder / "metrics.json").read_text())["splits"]
    dataset = read_dataset(str(folder / "md.extxyz")).subset(splits["test"])
    evaluation = evaluate_stack(load_stack(run.folder), dataset, Reporter())
    found = {model.name: model.errors["test"] for model in evaluation.errors}
    for name, values in errors_by_hand(folder, splits).items():
        if name not in found:  # evaluate shows no baselines
            continue
        assert {metric: found[name][metric] for metric in values} == pytest.approx(values, rel=1e-6)
    stack = next(model for model in run.errors if model.chosen)
    assert found["stack (linear)"] == pytest.approx(stack.errors["test"])


def test_the_stack_has_a_calibrated_uncertainty(run):
    uncertainty = load_stack(run.folder).uncertainty
    assert uncertainty.kind == "committee"
    assert uncertainty.force.n_structures == 10  # a tenth of the structures that are not test structures
