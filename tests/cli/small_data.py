"""A small dataset and base models that need no training, for runs of seconds, and functions to run commands."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import ase.io

from elmlff_core.data.readers import read_dataset
from tests.commands.running import Running, run_elmlff, start_elmlff

SETTINGS = """
base_models = ["lj", "emt"]

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
    """Write ``few.extxyz``, labelled methane structures, and ``elmlff.toml`` to `folder`."""
    dataset = read_dataset("methane").subset(range(0, 1200, 1200 // n_structures))
    assert dataset.energy is not None
    structures = list(dataset.structures)
    for index, atoms in enumerate(structures):
        atoms.arrays["REF_forces"], atoms.info["REF_energy"] = dataset.forces_of(index), dataset.energy[index]
    ase.io.write(folder / "few.extxyz", structures)
    (folder / "elmlff.toml").write_text(SETTINGS)


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Return environment variables with one thread, a cache in `folder`, and `variables`."""
    return os.environ | {"ELMLFF_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"} | variables


def elmlff(folder: Path, *arguments: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `elmlff` with `arguments` in `folder` and check its exit code."""
    return run_elmlff(arguments, folder, code, ELMLFF_CACHE=str(folder / "cache"), **variables)


def started(folder: Path, *arguments: str, ready: Callable[[Running], bool], **variables: str) -> Running:
    """Start `elmlff` with `arguments`, and return the command, which goes on, as soon as it is `ready`."""
    command = start_elmlff(arguments, folder, ELMLFF_CACHE=str(folder / "cache"), **variables)
    deadline = time.monotonic() + 200
    try:
        while not ready(command):
            assert command.runs, command.ending(60)
            assert time.monotonic() < deadline
            time.sleep(0.02)
    except BaseException:
        command.end()
        raise
    return command


def kill_when(folder: Path, ready: Callable[[], bool], *arguments: str, **variables: str) -> None:
    """Start `elmlff` and kill only its main process, with a signal that cannot be caught, as soon as `ready`."""
    command = started(folder, *arguments, ready=lambda _: ready(), **variables)
    command.send_signal(signal.SIGKILL)
    assert command.ending(60).code == -signal.SIGKILL  # its workers have then ended too


def n_lines(path: Path) -> int:
    """Return the number of lines of a file, 0 if it does not exist."""
    return len(path.read_text().splitlines()) if path.exists() else 0
