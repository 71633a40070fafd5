"""The jobs that are killed: a stack, a sweep and a prediction, each of a few seconds, and the numbers they end with."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase.build import molecule
from ase.calculators.emt import EMT
from safetensors.numpy import load_file

REPOSITORY = Path(__file__).resolve().parents[2]
# Keys and columns with times, or made of times as accuracy against cost is: they differ between any two runs.
# So does the hash of a record, which has the seconds too; what it covers is compared itself.
# Versions of packages are no results: somebody may install one while this runs.
TIMES = {"seconds", "cost", "costs", "seconds_per_structure", "pareto", "sha256", "versions"}
TOKEN = "ELMLFF_CRASH"  # variable in the environment of a job and of all that it starts
N_LABELLED, N_PREDICTED = 60, 400
SETTINGS = """
base_models = ["lj", "morse", "nep"]

[data]
train = "labelled.extxyz"

[models.lj]
adapter = "ase"
options = { calculator = "ase.calculators.lj:LennardJones", arguments = { sigma = 1.0, rc = 10.0 } }

[models.morse]
adapter = "ase"
options = { calculator = "ase.calculators.morse:MorsePotential", arguments = { epsilon = 1.0, r0 = 1.1, rho0 = 3.0 } }

[models.nep]
adapter = "nep"
CHECKPOINT
options = { steps = 30, neuron = 5, basis_size = [4, 4], radial_cutoff = 5.0, batch_size = 8 }

[meta.egat]
width = 16
layers = 1
heads = 2

[meta.gat]
channels = [8, 8]
averaged_layers = 1

[training]
epochs = 12
batch_size = 16
learning_rate = 1e-3
device = "cpu"
"""


@dataclass(frozen=True)
class Place:
    """Where a job works: the folder of its data and results, the cache of elmlff, and TMPDIR."""

    work: Path
    cache: Path
    tmp: Path

    @property
    def folders(self) -> dict[str, Path]:
        """The three folders by name."""
        return {"work": self.work, "cache": self.cache, "tmp": self.tmp}

    def make(self) -> None:
        """Make the folders anew."""
        for folder in self.folders.values():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)

    def remove(self) -> None:
        """Remove the folders."""
        for folder in self.folders.values():
            shutil.rmtree(folder, ignore_errors=True)

    def files(self) -> set[str]:
        """Return the names of all files, with the folder to which they belong, but those of torch in TMPDIR."""
        return {
            f"{name}/{path.relative_to(folder)}"
            for name, folder in self.folders.items()
            for path in folder.rglob("*")
            if (path.is_file() or path.is_symlink()) and not (name == "tmp" and path.name.startswith("torch"))
        }


@dataclass(frozen=True)
class Job:
    """One command; `needs` is the job of which it takes results."""

    name: str
    arguments: tuple[str, ...]
    needs: str | None = None

    def set_up(self, place: Place, references: Path) -> None:
        """Write the data and settings of the job, with the results of the job it needs."""
        place.make()
        write_structures(place.work)
        checkpoint = ""
        if self.needs is not None:
            shutil.copytree(references / self.needs / "work" / "stacked", place.work / "stacked")
            checkpoint = 'checkpoint = "stacked/models/nep.txt"'
        (place.work / "elmlff.toml").write_text(SETTINGS.replace("CHECKPOINT", checkpoint))

    def start(
        self, place: Place, token: str, log: Path, limit: Callable[[], None] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the command; its output is appended to `log`, and `limit` is called in its process first."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "elmlff_core", *self.arguments],
                cwd=place.work, env=environment(place, token), stdout=output, stderr=output,
                stdin=subprocess.DEVNULL, preexec_fn=limit,
            )  # fmt: skip

    def finish(self, place: Place, token: str, log: Path) -> tuple[int, float]:
        """Run the command to its end; return exit code and seconds."""
        started = time.monotonic()
        return self.start(place, token, log).wait(), time.monotonic() - started


JOBS = {
    job.name: job
    for job in (
        Job("stack", ("stack", "--meta", "linear,egat", "--bundle", "--output", "stacked")),
        Job(
            "sweep",
            ("sweep", "--method", "least-squares,masked,per-subset", "--meta", "gat", "--subsets", "nep",
             "--workers", "2", "--output", "swept"),
            needs="stack",
        ),
        Job("predict", ("predict", "stacked", "--data", "structures.extxyz", "-o", "out.extxyz"), needs="stack"),
    )
}  # fmt: skip


def environment(place: Place, token: str) -> dict[str, str]:
    """Return the environment of a job: one thread, and folders of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ELMLFF_")}
    return kept | {
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "ELMLFF_CACHE": str(place.cache),
        "ELMLFF_TRUST_STORE": str(place.work / "trust" / "trust.json"),
        "TMPDIR": str(place.tmp),
        TOKEN: token,
    }


def write_structures(folder: Path) -> None:
    """Write methane labelled by effective medium theory, and more of it without labels."""
    rng, calculator = np.random.default_rng(0), EMT()
    structures = [molecule("CH4") for _ in range(N_PREDICTED)]
    for atoms in structures:
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    ase.io.write(folder / "structures.extxyz", structures)
    labelled = structures[:N_LABELLED]
    for atoms in labelled:
        atoms.calc = calculator
        forces, energy = atoms.get_forces(), atoms.get_potential_energy()
        atoms.calc = None
        atoms.arrays["REF_forces"], atoms.info["REF_energy"] = forces, energy
    ase.io.write(folder / "labelled.extxyz", labelled)


def numbers(place: Place) -> dict[str, Any]:
    """Return all numbers that a job has written, without times: JSON, tables, tensors, models and predictions."""
    found: dict[str, Any] = {}
    for path in sorted(place.work.rglob("*")):
        name = str(path.relative_to(place.work))
        if path.name in ("trust.json", "costs.json", "costs.csv"):
            continue
        if path.suffix == ".json":
            found[name] = without_times(json.loads(path.read_text()))
        elif path.suffix == ".csv":
            rows = list(csv.DictReader(path.read_text().splitlines()))
            found[name] = [without_times(row) for row in rows]
        elif path.suffix == ".safetensors":  # its bytes may differ: metadata have no order
            found[name] = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in load_file(path).items()}
        elif path.suffix in (".txt", ".extxyz"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def without_times(value: Any) -> Any:
    """Return JSON data without the entries that are times."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Return the names of the files with numbers that differ, are missing or are too many."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
