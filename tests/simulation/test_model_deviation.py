"""The deviation of base models is that of DeePMD-kit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from elmlff_core.base_models.named import named_model
from elmlff_core.settings.config import ModelConfig
from elmlff_core.simulation.model_deviation import HEADER, line, model_deviation
from elmlff_core.stack.stack import Stack, make_meta
from tests.trained_models import find_plugin, rattled


@pytest.fixture
def potentials(training_request, made_once, resumed_dp) -> list[str]:
    """Two Deep Potentials."""

    def make(folder: Path) -> str:
        return str(find_plugin("dp").trainer.train(training_request("dp", folder, steps=20)))

    return [str(resumed_dp[0]), made_once("dp-short", make)]


def write_system(folder: Path, structures: list[Atoms], elements: list[str]) -> None:
    """Write structures of one composition as a deepmd/npy system."""
    (folder / "set.000").mkdir(parents=True)
    np.save(folder / "set.000" / "coord.npy", [atoms.positions.ravel() for atoms in structures])
    np.save(folder / "set.000" / "box.npy", [atoms.cell.array.ravel() for atoms in structures])
    np.savetxt(folder / "type.raw", [elements.index(symbol) for symbol in structures[0].symbols], fmt="%d")
    (folder / "type_map.raw").write_text("\n".join(elements))


def test_the_file_is_that_of_dp_model_devi(potentials, tmp_path):
    structures = rattled("CH4", 3, seed=5, cell=[7.0, 7.5, 8.0], pbc=True)
    write_system(tmp_path / "system", structures, ["C", "H"])
    subprocess.run(
        [sys.executable, "-m", "deepmd", "--pt", "model-devi", "-m", *potentials, "-s", "system", "-o", "theirs.out"],
        cwd=tmp_path, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, timeout=300,
    )  # fmt: skip
    models = [
        named_model(f"dp{index}", ModelConfig(adapter="dp", checkpoint=Path(path), trust=True))
        for index, path in enumerate(potentials)
    ]
    stack = Stack(models, "mean", {}, make_meta("mean", {}))
    lines = [line(step, model_deviation(stack.features([atoms]))) for step, atoms in enumerate(structures)]
    (tmp_path / "ours.out").write_text(HEADER + "".join(lines))
    theirs = np.loadtxt(tmp_path / "theirs.out")
    assert (theirs[:, 1:] > 0).all()
    assert np.allclose(np.loadtxt(tmp_path / "ours.out"), theirs, rtol=2e-6, atol=0)
    _, names, *rows = (tmp_path / "theirs.out").read_text().splitlines()
    assert HEADER.removeprefix("#").split() == names.removeprefix("#").split()
    # Columns at the same places, for readers that count characters.
    assert [len(ours.rstrip("\n")) for ours in lines] == [len(row) for row in rows]


def test_what_a_base_model_does_not_give_is_no_number():
    from elmlff_core.contracts.features import Features

    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.8]])
    forces = np.array([[[0, 0, 1.0], [0, 0, -1.0]], [[0, 0, 3.0], [0, 0, -1.0]]])
    found = model_deviation(Features([atoms], ("a", "b"), forces, {"a": np.zeros(1)}))
    assert np.isnan(found[[0, 1, 2, 6]]).all()
    assert found[3:6].tolist() == [1.0, 0.0, 0.5]
