"""A folder with small data, settings and finished artefacts of every kind, restored before each case."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np

from elmlff_core.contracts.progress import Progress
from elmlff_core.contracts.protocols import TrainingRequest
from tests.fuzz.running import Commands, Ending
from tests.trained_models import TINY, find_plugin, labelled, rattled

SETTINGS = """
base_models = ["lj", "emt"]

[data]
train = "few.extxyz"

[models.lj]
adapter = "ase"
options = { calculator = "ase.calculators.lj:LennardJones", arguments = { sigma = 1.0, rc = 3.0 } }

[models.emt]
adapter = "ase"
options = { calculator = "ase.calculators.emt:EMT" }

[models.tiny]
adapter = "nep"
checkpoint = "nep.txt"

[meta]
name = "linear"

[meta.egat]
width = 8
layers = 1
heads = 2

[meta.gat]
channels = [8, 8]
averaged_layers = 1
heads = 2

[meta.conservative]
width = 8
layers = 1
heads = 2

[training]
epochs = 2
batch_size = 8
device = "cpu"
"""
NEP_STEPS = 10


class Workplace:
    """The folder in which cases run, and a copy of its state before them.

    Attributes
    ----------
    folder : where commands run; stacks in it name their checkpoints by absolute paths, so it never moves
    """

    def __init__(self, root: Path, commands: Commands) -> None:
        self.folder, self.commands = root / "work", commands
        self._pristine, self._cache = root / "pristine", root / "pristine-cache"
        self._trusted = b""

    def prepare(self) -> None:
        """Make the data, the settings and the artefacts: it takes about 20 s."""
        self.folder.mkdir(parents=True)
        dataset = labelled(rattled("CH4", 24, seed=0, cell=[7.0, 7.5, 8.0], pbc=True))
        # No base model is exact, so that all errors depend on all base models.
        dataset = replace(dataset, forces=1.1 * dataset.forces + 0.1 * np.sin(dataset.forces))
        write_data(self.folder, dataset)
        (self.folder / "elmlff.toml").write_text(SETTINGS)
        make_nep(self.folder)
        for arguments in (
            ("stack", "--models", "lj,emt,tiny", "--output", "linear"),
            ("stack", "--meta", "egat", "--bundle", "--models", "lj,emt,tiny", "--output", "egat"),
            ("sweep", "--method", "least-squares,per-subset,masked", "--meta", "egat", "--executor", "serial",
             "--output", "sweep"),
            ("predict", "linear", "--data", "few.extxyz", "-o", "predicted.extxyz"),
        ):  # fmt: skip
            ending = self.commands.run(self.folder, *arguments, limit=300)
            assert ending.kind == "success", ending
        shutil.copytree(self.folder, self._pristine)
        shutil.copytree(self.commands.cache, self._cache)
        self._trusted = self.commands.trust_store.read_bytes()

    def restore(self) -> None:
        """Undo what a case has changed, in the folder and in the cache."""
        for used, kept in ((self.folder, self._pristine), (self.commands.cache, self._cache)):
            shutil.rmtree(used)
            shutil.copytree(kept, used)
        self.commands.trust_store.write_bytes(self._trusted)

    def run(self, *arguments: str, limit: float = 60.0) -> Ending:
        """Run a command in the folder."""
        return self.commands.run(self.folder, *arguments, limit=limit)


def write_data(folder: Path, dataset: object) -> None:
    """Write the labelled structures in each format: ``few.extxyz``, ``few.traj``, ``few.xyz`` and ``npy``."""
    structures = []
    for index, atoms in enumerate(dataset.structures):
        copy = atoms.copy()
        copy.arrays["REF_forces"], copy.info["REF_energy"] = dataset.forces_of(index), dataset.energy[index]
        copy.info["REF_stress"] = np.linspace(-0.01, 0.01, 6)
        structures.append(copy)
    ase.io.write(folder / "few.extxyz", structures)
    ase.io.write(folder / "few.traj", structures[:6])
    ase.io.write(folder / "few.xyz", structures[:6], format="xyz")
    ase.io.write(folder / "few.json", structures[:6], format="json")
    system = folder / "npy"
    (system / "set.000").mkdir(parents=True)
    (system / "type_map.raw").write_text("H\nC\n")
    np.savetxt(system / "type.raw", (structures[0].numbers == 6).astype(int), fmt="%d")
    n = len(structures)
    arrays = {
        "coord": [atoms.positions for atoms in structures],
        "box": [atoms.cell.array for atoms in structures],
        "force": [dataset.forces_of(index) for index in range(n)],
        "virial": np.zeros((n, 9)),
    }
    for name, values in arrays.items():
        np.save(system / "set.000" / f"{name}.npy", np.reshape(values, (n, -1)))
    np.save(system / "set.000" / "energy.npy", dataset.energy)


def make_nep(folder: Path) -> None:
    """Train a NEP for a few steps: ``nep.txt``."""
    plugin = find_plugin("nep")
    train = labelled(rattled("CH4", 8, seed=0, cell=[7.0, 7.5, 8.0], pbc=True))
    valid = labelled(rattled("CH4", 3, seed=1, cell=[7.0, 7.5, 8.0], pbc=True))
    options = plugin.options(**(TINY["nep"] | {"steps": NEP_STEPS, "radial_cutoff": 4.0}))

    def ignore(progress: Progress) -> None:
        pass

    directory = folder / "training"
    directory.mkdir()
    checkpoint = plugin.trainer.train(TrainingRequest("tiny", train, valid, options, directory, 7, ignore))
    shutil.copyfile(checkpoint, folder / "nep.txt")
    shutil.rmtree(directory)
