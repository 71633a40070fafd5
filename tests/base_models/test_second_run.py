"""If all predictions are cached, no backend is imported."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from elmlff_core.contracts.hookspecs import LoadRequest
from elmlff_core.plugins.registry import registry
from tests.conftest import shared_folder

BACKENDS = ("deepmd", "schnetpack", "calorine")
# Runs the command line, and then prints the backends that it imported.
RUN = f"""
import json, sys
from elmlff_core.cli.main import main
main(sys.argv[1:])
print(json.dumps([name for name in {BACKENDS} if name in sys.modules]))
"""


def imported_by(*arguments: str, folder) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def checkpoints():
    folder = shared_folder() / "models" / "methanol-cu100"
    if not folder.is_dir():
        pytest.skip(f"the authors' checkpoints are not at {folder}")
    return folder


def test_a_second_run_imports_no_backend(tmp_path, checkpoints):
    import ase.io

    from elmlff_core.testing import example_structures

    structures = example_structures(["C", "Cu", "H", "O"]) * 4
    for index, atoms in enumerate(structures):
        atoms.rattle(0.02, seed=index)
        atoms.arrays["REF_forces"] = atoms.positions * 0.01
    ase.io.write(tmp_path / "data.extxyz", structures)
    (tmp_path / "elmlff.toml").write_text(
        f"""
[data]
train = "data.extxyz"
[models.nep]
checkpoint = "{checkpoints / "nep.txt"}"
[models.painn]
checkpoint = "{checkpoints / "painn.best_inference_model"}"
trust = true
"""
    )
    stack = ("stack", "--models", "nep,painn", "--meta")
    assert set(imported_by(*stack, "linear", folder=tmp_path)) == {"schnetpack", "calorine"}
    assert imported_by(*stack, "mean", folder=tmp_path) == []


@pytest.mark.parametrize(("adapter", "file"), [("nep", "nep.txt"), ("painn", "painn.best_inference_model")])
def test_fingerprints_are_those_of_loaded_models(adapter, file, checkpoints):
    plugin = registry().force_field(adapter)
    request = LoadRequest("tested", checkpoints / file, plugin.options(), trust=True)
    assert plugin.fingerprint(request) == plugin.load(request).fingerprint


def test_fingerprint_of_a_trained_deep_potential(trained, request):
    checkpoint = request.getfixturevalue("resumed_dp")[0]
    plugin = registry().force_field("dp")
    assert plugin.fingerprint(LoadRequest("tested", checkpoint, plugin.options())) == trained("dp").fingerprint
