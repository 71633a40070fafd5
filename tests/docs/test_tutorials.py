"""The tutorials on one's own models and on molecular dynamics, as typed, one after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import ase.io
import pytest

from elmlff_core.settings.reading import read_config

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def shell(command: str, folder: Path) -> str:
    """Run `command` in `folder` and return what it prints."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ELMLFF_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    result = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def copper(tmp_path_factory) -> Path:
    """A folder in which the tutorial on one's own models was run."""
    folder = tmp_path_factory.mktemp("copper")
    (data,) = blocks("your-own-models.md", "python")
    (folder / "data.py").write_text(data)
    shell("python data.py", folder)
    (folder / "elmlff.toml").write_text(blocks("your-own-models.md", "toml")[0])
    (commands,) = blocks("your-own-models.md", "sh")
    for command in commands.splitlines():
        shell(command, folder)
    return folder


def test_stacks_are_where_the_tutorial_says(copper):
    assert {path.name for path in (copper / "copper" / "stacks").iterdir()} == {"linear", "conservative"}


def test_molecular_dynamics_runs(copper):
    (copper / "dynamics.py").write_text("\n".join(blocks("molecular-dynamics.md", "python")))
    printed = shell("python dynamics.py", copper)
    (change,) = re.findall(r"changed by (\S+) meV per atom", printed)
    assert abs(float(change)) < 1  # the energy is conserved
    assert (ase.io.read(copper / "last.extxyz").arrays["forces_std"] > 0).all()


def test_settings_with_checkpoints_are_valid(tmp_path):
    (tmp_path / "elmlff.toml").write_text(blocks("your-own-models.md", "toml")[1])
    config = read_config(tmp_path / "elmlff.toml")
    assert set(config.models) == {"nep", "sch1", "mace1"}
