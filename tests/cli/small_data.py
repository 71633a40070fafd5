"""Few structures and bases that need no training, for runs of seconds, and commands run on them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ase.io

from elmlff_core.data.readers import read_dataset

SETTINGS = """
stack = ["lj", "emt"]

[data]
train = "few.extxyz"

[models.lj]
adapter = "ase"
options = { calculator = "ase.calculators.lj:LennardJones", arguments = { sigma = 1.0, rc = 10.0 } }

[models.emt]
adapter = "ase"
options = { calculator = "ase.calculators.emt:EMT" }

[meta.gat]
channels = [8, 8]
averaged_layers = 1

[training]
epochs = 3
batch_size = 16
device = "cpu"
"""


def write_small_data(folder: Path, n_structures: int = 40) -> None:
    """``few.extxyz``, labelled methanes, and ``elmlff.toml``, in `folder`."""
    dataset = read_dataset("methane").subset(range(0, 1200, 1200 // n_structures))
    assert dataset.energy is not None
    for atoms, forces, energy in zip(dataset.structures, dataset.forces, dataset.energy, strict=True):
        atoms.arrays["REF_forces"], atoms.info["REF_energy"] = forces, energy
    ase.io.write(folder / "few.extxyz", dataset.structures)
    (folder / "elmlff.toml").write_text(SETTINGS)


def environment(folder: Path) -> dict[str, str]:
    """One thread, and a cache of its own in `folder`."""
    return os.environ | {"ELMLFF_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


def elmlff(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`elmlff` with `arguments` in `folder`, which must end with `code`."""
    result = subprocess.run(
        [sys.executable, "-m", "elmlff_core", *arguments],
        cwd=folder, env=environment(folder), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert result.returncode == code, result.stdout + result.stderr
    return result
