"""Base models under an interpreter with numpy and ase, but without elmlff and its requirements."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from elmlff_core.base_models.named import named_model, resolve_model
from elmlff_core.base_models.prediction import predict_checked
from elmlff_core.errors import ForceFieldError, PluginError
from elmlff_core.settings.config import ModelConfig
from elmlff_core.settings.reading import read_config
from elmlff_core.worker.errors import WorkerError
from tests.worker.conftest import spring

REPOSITORY = Path(__file__).resolve().parents[2]
EMT = "ase.calculators.emt:EMT"
# Modules of elmlff that a worker under another interpreter imports.
WORKER_MODULES = [
    *("elmlff_core/__init__.py", "elmlff_core/arrays.py", "elmlff_core/errors.py", "elmlff_core/resources.py"),
    *("elmlff_core/contracts/__init__.py", "elmlff_core/contracts/prediction.py"),
    *("elmlff_core/plugins/__init__.py", "elmlff_core/plugins/toolkit.py"),
    *("elmlff_core/worker/__init__.py", "elmlff_core/worker/server.py"),
    *("elmlff_core/worker/protocol.py", "elmlff_core/worker/structures.py"),
    *("elmlff_plugins/__init__.py", "elmlff_plugins/ase/__init__.py", "elmlff_plugins/ase/evaluation.py"),
]


@pytest.fixture(autouse=True)
def no_python_path(monkeypatch):
    """Remove PYTHONPATH, by which another interpreter could import the elmlff of this checkout."""
    monkeypatch.delenv("PYTHONPATH", raising=False)


def test_the_environment_has_no_elmlff(bare_python):
    code = "import importlib.util as i; print([m for m in ('elmlff_core', 'pydantic', 'pluggy') if i.find_spec(m)])"
    result = subprocess.run([bare_python, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert result.stdout.strip() == "[]"


def test_predictions_are_the_same_as_in_this_process(worker, bare_python):
    structures = [bulk("Cu", cubic=True) * (2, 2, n) for n in (1, 2)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.1, seed=seed)
    here, there = worker(EMT, python=None), worker(EMT, python=bare_python)
    found, expected = predict_checked(there, structures), predict_checked(here, structures)
    for name in ("forces", "energy", "stress"):
        # Another build of numpy may round differently.
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-12)
    assert there.force_field.fingerprint != here.force_field.fingerprint


def test_the_fingerprint_depends_on_the_environment(worker, bare_python):
    before = worker(EMT, python=bare_python).force_field.fingerprint
    assert worker(EMT, python=bare_python).force_field.fingerprint == before
    site = subprocess.run(
        [bare_python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    added = Path(site) / "mlff_of_tests-1.0.dist-info"
    added.mkdir()
    try:
        (added / "METADATA").write_text("Metadata-Version: 2.1\nName: mlff-of-tests\nVersion: 1.0\n")
        assert worker(EMT, python=bare_python).force_field.fingerprint != before
    finally:
        (added / "METADATA").unlink()
        added.rmdir()


def test_failures_under_another_interpreter_are_reported(worker, bare_python, calculators_for_others, tmp_path):
    model = worker(f"{calculators_for_others}:Dying", python=bare_python)
    with pytest.raises(WorkerError, match="killed by SIGSEGV") as caught:
        predict_checked(model, spring(4, fatal=1))
    assert bare_python in str(caught.value)
    assert "the last output of the calculator" in str(caught.value)
    with pytest.raises(WorkerError, match="there is no module 'mace'; install"):
        _ = worker("mace.calculators:MACECalculator", python=bare_python).force_field


def test_a_checkpoint_is_passed_by_its_absolute_path(bare_python, calculators_for_others, tmp_path, monkeypatch):
    (tmp_path / "notes").touch()
    monkeypatch.chdir(tmp_path)
    options = {
        "calculator": f"{calculators_for_others}:Stopwatch",
        "arguments": {"seconds": 0},
        "checkpoint_argument": "log",
    }
    model = named_model("tested", ModelConfig(adapter="ase", checkpoint="notes", python=bare_python, options=options))
    predict_checked(model, spring(2))
    model.close()
    assert len((tmp_path / "notes").read_text().splitlines()) == 2


def test_the_error_names_an_adapter_that_needs_elmlff(bare_python, tmp_path):
    checkpoint = tmp_path / "nep.txt"
    checkpoint.touch()
    model = named_model("nep1", ModelConfig(adapter="nep", checkpoint=checkpoint, python=bare_python))
    with pytest.raises(WorkerError, match=r"has no elmlff, but adapter 'nep' needs elmlff .* -m pip install elmlff=="):
        _ = model.force_field


def test_an_environment_without_ase(tmp_path):
    folder = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    model = named_model("tested", ModelConfig(adapter="ase", python=python, options={"calculator": EMT}))
    with pytest.raises(WorkerError, match=r"cannot be used: install numpy and ase there: .*pip install numpy ase"):
        _ = model.force_field


def test_a_missing_interpreter():
    with pytest.raises(ForceFieldError, match="model 'tested': there is no Python interpreter /nowhere/python"):
        named_model("tested", ModelConfig(adapter="ase", python="/nowhere/python", options={"calculator": EMT}))


def test_a_program_that_is_not_an_interpreter():
    model = named_model("tested", ModelConfig(adapter="ase", python="/bin/true", options={"calculator": EMT}))
    with pytest.raises(WorkerError, match="ended with exit code 0 while it loaded"):
        _ = model.force_field


def test_an_adapter_with_a_backend_only_in_the_other_environment(monkeypatch):
    monkeypatch.setattr("elmlff_core.plugins.registry.missing_requirements", lambda record: ["backend"])
    with pytest.raises(PluginError, match="backend not installed"):
        named_model("tested", ModelConfig(adapter="ase", python="self", options={"calculator": EMT}))
    named_model("tested", ModelConfig(adapter="ase", python=sys.executable, options={"calculator": EMT}))


def test_paths_in_the_settings_are_relative_to_their_file(tmp_path, monkeypatch):
    bin_folder = tmp_path / "env" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").symlink_to(sys.executable)
    monkeypatch.setenv("HOME", str(tmp_path))
    names = {"near": "env/bin/python", "home": "~/env/bin/python", "own": "self", "named": "python3"}
    text = "".join(
        f'[models.{name}]\nadapter = "ase"\npython = "{python}"\ntimeout = 30.0\noptions.calculator = "{EMT}"\n'
        for name, python in names.items()
    )
    (tmp_path / "elmlff.toml").write_text(text)
    config = read_config(tmp_path / "elmlff.toml")
    expected = {
        "near": str(bin_folder / "python"),
        "home": str(bin_folder / "python"),
        "own": "self",
        "named": "python3",
    }
    assert {name: resolve_model(config, name).config.python for name in names} == expected
    assert config.models["near"].timeout == 30.0


@pytest.mark.parametrize("module", WORKER_MODULES)
def test_worker_modules_are_valid_python_3_9(module):
    ast.parse((REPOSITORY / module).read_text(), feature_version=(3, 9))


def test_a_worker_imports_no_other_module_of_elmlff(bare_python, calculators_for_others):
    """`WORKER_MODULES` is complete: after a prediction the worker has imported no other file of elmlff."""
    options = {"calculator": f"{calculators_for_others}:ImportLister"}
    model = named_model("tested", ModelConfig(adapter="ase", python=bare_python, options=options))
    predict_checked(model, spring(1))
    found = json.loads(model.force_field._process.tail().splitlines()[-1])
    model.close()
    assert set(found) <= {str(REPOSITORY / module) for module in WORKER_MODULES}


def test_variables_of_a_notebook_do_not_reach_another_interpreter(
    worker, bare_python, calculators_for_others, monkeypatch
):
    """Jupyter names a backend of matplotlib that only its own environment has; CHGNet then could not be imported."""
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    model = worker(f"{calculators_for_others}:OutsideNotebooks", python=bare_python)
    assert len(predict_checked(model, spring(1)).forces) == 5
