"""The tutorials on one's own models and on molecular dynamics, as typed, one after the other."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import ase.io
import numpy as np
import pytest

from elmlff_core.settings.reading import read_config
from tests.docs.pages import blocks, shell

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def copper(tmp_path_factory) -> Path:
    """A folder in which the tutorial on one's own models was run."""
    folder = tmp_path_factory.mktemp("copper")
    (data,) = blocks(DOCS / "your-own-models.md", "python")
    (folder / "data.py").write_text(data)
    shell("python data.py", folder)
    (folder / "elmlff.toml").write_text(blocks(DOCS / "your-own-models.md", "toml")[0])
    (commands,) = blocks(DOCS / "your-own-models.md", "sh")
    for command in commands.splitlines():
        shell(command, folder)
    return folder


def test_stacks_are_where_the_tutorial_says(copper):
    assert {path.name for path in (copper / "copper" / "stacks").iterdir()} == {"linear", "conservative"}


def test_molecular_dynamics_runs(copper):
    (copper / "dynamics.py").write_text("\n".join(blocks(DOCS / "molecular-dynamics.md", "python")))
    printed = shell("python dynamics.py", copper)
    (change,) = re.findall(r"changed by (\S+) meV per atom", printed)
    assert abs(float(change)) < 1  # the energy is conserved
    assert (ase.io.read(copper / "last.extxyz").arrays["forces_uncertainty"] > 0).all()


def test_simulations_by_command_run(copper):
    commands, compilation = blocks(DOCS / "molecular-dynamics.md", "sh")
    for command in commands.splitlines():
        shell(command, copper)
    assert "a prediction instead of" in shell(compilation.strip(), copper)
    assert len(ase.io.read(copper / "npt" / "trajectory.extxyz", ":")) == 11
    assert abs(ase.io.read(copper / "relaxed.extxyz").get_stress()[:3]).max() < 0.01


def test_lammps_runs(copper):
    page = DOCS / "lammps.md"
    (copper / "in.lammps").write_text(blocks(page, "lammps")[0])
    (command,) = blocks(page, "sh")
    assert "type 1 is Cu (by mass)" in shell(command.strip(), copper)
    assert "\n        50 " in (copper / "log.lammps").read_text()
    (copper / "couple.py").write_text(blocks(page, "python")[0])
    assert re.search(r"-?\d+\.\d+ eV, \d\.\d+ eV/Å", shell("python couple.py", copper))


def test_i_pi_runs(copper):
    (copper / "input.xml").write_text(blocks(DOCS / "i-pi.md", "xml")[0])
    (command,) = blocks(DOCS / "i-pi.md", "sh")
    with tempfile.TemporaryDirectory(prefix="ipi-", dir="/tmp") as short:  # other runs of the tests have this address
        command = command.replace("xml >", f"xml -S {short}/ >").replace("; wait", f" --sockets-prefix {short}/; wait")
        assert "i-PI has ended" in shell(command, copper)
    assert len(np.loadtxt(copper / "ipi.out")) == 21
    assert len(ase.io.read(copper / "ipi.pos_0.extxyz", ":")) == 5
    assert "committee_pot" in (copper / "ipi.energies_0").read_text()
    (driver,) = blocks(DOCS / "i-pi.md", "python")
    names: dict[str, object] = {}
    exec(driver, names)
    assert names["__DRIVER_CLASS__"] in names


def test_settings_with_checkpoints_are_valid(tmp_path):
    (tmp_path / "elmlff.toml").write_text(blocks(DOCS / "your-own-models.md", "toml")[1])
    config = read_config(tmp_path / "elmlff.toml")
    assert set(config.models) == {"nep", "sch1", "mace1"}
