"""The command `elmlff stack` with tiny budgets: real backends and real commands in a fresh folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from elmlff_core import StackCalculator, load_stack
from elmlff_core.data.readers import read_dataset
from elmlff_core.errors import ElmlffError
from tests.commands.running import run_elmlff
from tests.methane_run import MODELS, TINY, TINY_BASE_MODELS


def run(*arguments: str, folder: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `elmlff` in `folder`, with a cache in this folder."""
    return run_elmlff(arguments, folder, 0 if check else None, ELMLFF_CACHE=str(folder / "cache"))


def errors_of(folder: Path) -> dict[str, dict]:
    """Return the errors of each model of a run."""
    return {model["name"]: model["errors"] for model in json.loads((folder / "metrics.json").read_text())["errors"]}


@pytest.fixture(scope="module")
def workplace(methane_run) -> Path:
    """A folder in which `elmlff stack` has run once."""
    return methane_run


@pytest.fixture(scope="module")
def bundled(workplace) -> Path:
    """The folder of a second run with the same settings and seed, whose stack contains its base models."""
    result = run("stack", "--models", MODELS, *TINY, "--output", "bundled", "--bundle", folder=workplace)
    assert "trained before" in result.stdout
    return workplace / "bundled"


@pytest.fixture
def metrics(workplace) -> dict:
    return json.loads((workplace / "run" / "metrics.json").read_text())


def test_the_output_has_plan_and_results(workplace):
    stdout = (workplace / "stdout").read_text()
    assert "no data named: using the embedded example 'methane'" in stdout
    assert "864 training, 96 validation and 240 test structures" in stdout
    for name in MODELS.split(","):
        assert f"{name}: adapter" in stdout
    assert "to be trained (quick: 24 steps" in stdout
    assert "dp1, painn, nep on training structures are in-sample" in stdout
    assert "linear combination" in stdout
    assert stdout.rstrip().endswith("stack: run")


def test_the_folder_is_complete_and_holds_no_pickle(workplace):
    files = {str(path.relative_to(workplace / "run")) for path in (workplace / "run").rglob("*") if path.is_file()}
    assert files >= {
        "stack.json", "meta/meta.safetensors", "meta/meta.json", "config.toml", "metrics.json", "metrics.csv",
        "report.html", "figures/parity_forces.svg", "figures/parity_energies.csv", "figures/training.svg",
        "figures/learning_curve.csv", "fit/egat/learning_curve.csv", "fit/egat/meta/meta.safetensors",
    }  # fmt: skip
    assert not [name for name in files if name.endswith((".pt", ".pth", ".ckpt", ".pkl"))]


def test_errors_follow_from_the_predictions(workplace, metrics):
    """The errors in metrics.json are calculated here from the predictions of the loaded stack on test structures."""
    stack = load_stack(workplace / "run")
    dataset = read_dataset("methane").subset(metrics["splits"]["test"])
    predicted = stack.predict(dataset.structures)
    errors = np.array([predicted.forces_of(i) - dataset.forces_of(i) for i in range(len(dataset))])
    found = next(model for model in metrics["errors"] if model["kind"] == "stack")["errors"]["test"]
    expected = np.sqrt((errors**2).mean(axis=(1, 2))).mean()
    assert found["rmse_per_frame"] == pytest.approx(expected, rel=1e-4)
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-4)
    energy = np.sqrt((((predicted.energy - dataset.energy) / 5) ** 2).mean())
    assert found["energy_rmse_per_atom"] == pytest.approx(energy, rel=1e-4)


def test_a_note_has_training_and_test_errors_of_in_sample_base_models(workplace, metrics):
    (note,) = (note for note in metrics["notes"] if "in-sample" in note)
    assert f"note: {note}" in (workplace / "stdout").read_text()
    for model in metrics["errors"][:3]:
        train, test = (model["errors"][split]["rmse_per_frame"] for split in ("train", "test"))
        assert f"{model['name']} {train:.4f} on training and {test:.4f} on test structures" in note


def test_the_stack_is_no_worse_than_the_linear_combination_on_validation(metrics):
    errors = {model["name"]: model["errors"]["valid"]["rmse_per_frame"] for model in metrics["errors"]}
    assert errors["stack (egat)"] <= errors["linear combination"] * (1 + 1e-5)


def test_saved_settings_are_those_of_the_run(workplace):
    from elmlff_core.settings.reading import read_config

    config = read_config(workplace / "run" / "config.toml")
    assert config.training.epochs == 6
    assert config.base_models == tuple(MODELS.split(","))
    assert config.models["nep"].options["steps"] == 24


def test_a_finished_run_shows_its_results_and_computes_nothing(workplace):
    started = time.perf_counter()
    result = run("stack", "--models", MODELS, *TINY, "--output", "run", folder=workplace)
    assert "is complete" in result.stdout
    between = result.stdout.split("is complete")[1].split("force errors")[0].splitlines()[1:]
    assert all(line.startswith("note: ") for line in between)
    assert result.stdout.splitlines()[-2:] == (workplace / "stdout").read_text().splitlines()[-2:]
    notes = [line for line in (workplace / "stdout").read_text().splitlines() if line.startswith("note: ")]
    assert notes
    assert [line for line in result.stdout.splitlines() if line.startswith("note: ")] == notes
    assert time.perf_counter() - started < 600


def test_a_subset_of_trained_base_models_needs_no_training_and_no_prediction(workplace):
    cached = {path: path.stat().st_mtime_ns for path in (workplace / "cache").rglob("*.safetensors")}
    result = run("stack", "--models", "painn,dp1", *TINY_BASE_MODELS, "--meta", "linear", folder=workplace)
    assert result.stdout.count("trained before") == 2
    assert {path: path.stat().st_mtime_ns for path in (workplace / "cache").rglob("*.safetensors")} == cached


def test_the_same_seed_gives_the_same_errors(bundled, metrics):
    assert errors_of(bundled) == {model["name"]: model["errors"] for model in metrics["errors"]}


def test_evaluate_and_predict(workplace, metrics):
    test = [read_dataset("methane").structures[i] for i in metrics["splits"]["test"][:60]]
    ase.io.write(workplace / "test.xyz", test)
    run("predict", "run", "--data", "test.xyz", "-o", "out.extxyz", folder=workplace)
    written = ase.io.read(workplace / "out.extxyz", ":")
    stack = load_stack(workplace / "run")
    expected = stack.predict(test)
    assert np.allclose(written[7].get_forces(), expected.forces_of(7), atol=1e-6)
    assert written[7].get_potential_energy() == pytest.approx(expected.energy[7])
    calculator = StackCalculator(stack)
    for kind, found in (("forces", written[7].arrays), ("energy", written[7].info)):
        expected_std = calculator.get_property(f"{kind}_std", test[7])
        assert np.allclose(found[f"{kind}_uncertainty"], expected_std, rtol=1e-4)
    few = read_dataset("methane").subset(metrics["splits"]["test"][:50])
    labelled = list(few.structures)
    for index, atoms in enumerate(labelled):
        atoms.arrays["mine"], atoms.info["my_energy"] = few.forces_of(index), few.energy[index]
    ase.io.write(workplace / "few.extxyz", labelled)
    keys = ("--forces-key", "mine", "--energy-key", "my_energy")
    evaluated = json.loads(run("evaluate", "run", "--data", "few.extxyz", *keys, "--json", folder=workplace).stdout)
    assert [model["name"] for model in evaluated["errors"]] == ["dp1", "painn", "nep", "stack (egat)"]
    assert evaluated["counts"] == {"test": 50, "valid": 0, "train": 0}
    errors = np.array([expected.forces_of(i) - few.forces_of(i) for i in range(50)])
    found = evaluated["errors"][-1]["errors"]["test"]["rmse_per_frame"]
    assert found == pytest.approx(np.sqrt((errors**2).mean(axis=(1, 2))).mean(), rel=1e-4)
    table = run("evaluate", "run", "--data", "few.extxyz", *keys, folder=workplace).stdout
    assert f"{found:.4f}" in table


def test_calculator(workplace):
    atoms = read_dataset("methane").structures[5].copy()
    atoms.calc = StackCalculator(workplace / "run")
    expected = load_stack(workplace / "run").predict([atoms])
    assert np.allclose(atoms.get_forces(), expected.forces)
    assert atoms.get_potential_energy() == pytest.approx(expected.energy[0])
    assert atoms.get_potential_energy(force_consistent=True) == pytest.approx(expected.energy[0])
    wrong = Atoms("OCO", [[0, 0, 0], [0, 0, 1.2], [0, 0, 2.4]], calculator=StackCalculator(workplace / "run"))
    with pytest.raises(ElmlffError, match="O"):
        wrong.get_forces()


def test_a_bundled_stack_can_be_moved_without_its_models(workplace, bundled, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(bundled, moved)
    record = json.loads((moved / "stack.json").read_text())
    assert all(not Path(entry["checkpoint"]["path"]).is_absolute() for entry in record["base_models"])
    structures = read_dataset("methane").structures[:3]
    assert np.array_equal(
        load_stack(moved).predict(structures).forces, load_stack(workplace / "run").predict(structures).forces
    )


def test_a_changed_or_missing_checkpoint_is_an_error(bundled, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(bundled, moved)
    nep = moved / "models" / "nep.txt"
    nep.write_text(nep.read_text().replace("1", "2", 5))
    with pytest.raises(ElmlffError, match="checkpoint of model 'nep' has changed"):
        load_stack(moved)
    nep.unlink()
    with pytest.raises(ElmlffError, match="checkpoint of model 'nep' is missing"):
        load_stack(moved)


def test_a_run_interrupted_by_ctrl_c_resumes(workplace):
    """After an interrupted fit, the same command ends with the errors of a run that was not interrupted."""
    arguments = ["stack", "--models", MODELS, *TINY]
    environment = os.environ | {"ELMLFF_CACHE": str(workplace / "cache"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "elmlff_core", *arguments, "--output", "cut"],
        cwd=workplace, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    curve = workplace / "cut" / "fit" / "egat" / "learning_curve.csv"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (curve.exists() and len(curve.read_text().splitlines()) > 2):
        time.sleep(0.1)
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted; run the same command again to resume" in stderr
    assert "Traceback" not in stderr
    run(*arguments, "--output", "cut", folder=workplace)
    assert errors_of(workplace / "cut") == errors_of(workplace / "run")


WRONG = {
    "no such model": (["--models", "dp9"], "no model is called 'dp9'; did you mean 'dp"),
    "no such data": (["--data", "nothing.extxyz"], "or published dataset is called 'nothing.extxyz'"),
    "no such meta-model": (["--meta", "gta"], "no meta-model is called 'gta'; did you mean 'gat'?"),
    "unknown key": (["--set", "training.epoch=3"], "unknown key 'training.epoch'"),
    "unknown option": (["--set", "meta.readot=atom"], "unknown key 'readot'"),
    "not a number": (["--set", "training.epochs=many"], "'training.epochs'"),
    "no such adapter": (["--set", 'models.x.adapter="schnett"', "--models", "x"], "did you mean 'schnet'?"),
    "a model twice": (["--models", "dp1,dp1"], "a model is named twice"),
    "no name": (["--models", ""], "name at least one model"),
    "no such config": (["--config", "no.toml"], "there is no no.toml"),
    "another run": (["--models", "nep", "--output", "run"], "holds another run"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_ends_in_one_line(workplace, name):
    arguments, message = WRONG[name]
    result = run("stack", *arguments, folder=workplace, check=False)
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" in run("stack", *arguments, "--debug", folder=workplace, check=False).stderr


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['elmlff', '--help']\n"
        "from elmlff_core.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'torch_geometric', 'pytorch_lightning', 'matplotlib', 'ase', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_name_of_an_adapter_is_a_model_with_default_options():
    from elmlff_core.base_models.named import resolve_model
    from elmlff_core.errors import ConfigError
    from elmlff_core.settings.config import Config

    model = resolve_model(Config(), "dp")
    assert (model.name, model.plugin.name, model.checkpoint) == ("dp", "dp", None)
    assert model.options == model.plugin.options()
    with pytest.raises(ConfigError, match="did you mean"):
        resolve_model(Config(), "dp4")
