"""The report of a real run: two Morse potentials of copper, with EMT labels along a trajectory."""

from __future__ import annotations

import json
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet

from elmlff_core.settings.config import Config, DataConfig, ModelConfig
from elmlff_core.stack.stack import load_stack
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
    titles = re.findall(r"<h2>([^<]+)</h2>", html)
    assert titles == [
        "Summary", "Errors", "Pictures", "Training and test errors", "Test and training structures",
        "Noise of the labels", "Errors in detail", "Uncertainty", "Settings", "Versions",
    ]  # fmt: skip
    for entry in diagnostics["uncertainty"]["forces"]["coverage"]:
        assert f"|{100 * entry['normal']:.1f} %|" in text
    assert html.count("data:image/png;base64,") == 4  # parity, errors by force, uncertainty of forces and of energies
    assert diagnostics["labels"]["train"]["net_force"] == pytest.approx(0, abs=1e-6)


def test_the_stack_has_a_calibrated_uncertainty(run):
    uncertainty = load_stack(run.folder).uncertainty
    assert uncertainty.kind == "committee"
    assert uncertainty.force.n_structures == 10  # a tenth of the structures that are not test structures
