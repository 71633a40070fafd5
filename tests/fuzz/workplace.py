"""A folder with small data, settings and finished artefacts of every kind, restored before each case."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np

from elmlff_core.contracts.dataset import Dataset
from tests.commands.running import Commands, Ending
from tests.fuzz.running import CPU_LIMIT, run_in_workplace
from tests.trained_models import labelled, rattled

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

[models.fresh]
adapter = "nep"
options = { steps = 10, neuron = 5, basis_size = [4, 4], radial_cutoff = 4.0, batch_size = 8 }

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
# Base models whose files and trainings take longer; `make fuzz` has them, `make test` has not.
MORE_SETTINGS = """
[models.fine]
adapter = "painn"
checkpoint = "painn.safetensors"

[models.deep]
adapter = "dp"
checkpoint = "deep.pth"
"""
MORE_TRAINED = """
[models.painn-once]
adapter = "painn"
options = { steps = 12, n_atom_basis = 16, n_interactions = 2, batch_size = 8, cutoff = 4.0 }

[models.deep-once]
adapter = "dp"
options = { steps = 20, neuron = [4, 8], fitting_neuron = [16, 16], axis_neuron = 2, rcut = 4.0, batch_size = 4 }
"""
# A damage may ask for more steps: after 20 s LAMMPS ends the run.
LAMMPS_INPUT = """units metal
timer timeout 0:00:20 every 1
atom_modify map array
region box block 0 7 0 7.5 0 8
create_box 2 box
labelmap atom 1 C 2 H
create_atoms 1 single 3.5 3.75 4
create_atoms 2 single 4.13 4.38 4.63
create_atoms 2 single 2.87 3.12 4.63
mass * 1.008
velocity all create 300 1
variable worst equal f_elmlff[1]
fix move all nve
thermo_style custom step pe press v_worst
dump frames all custom 1 frames.lammpstrj id type x y z d_forces_uncertainty
timestep 0.0005
run 3
if "${worst} > 0" then "print 'uncertain'" else "quit 2"
"""
STACK = ("stack", "--models", "lj,emt,tiny", "--output", "linear")
BUNDLED = ("stack", "--models", "lj,emt,tiny", "--meta", "egat", "--bundle", "--output", "egat")
SWEEP = (
    "sweep", "--method", "least-squares,per-subset,masked", "--meta", "egat", "--executor", "serial",
    "--output", "sweep",
)  # fmt: skip
TRAIN = ("train", "fresh")
DISTILL = ("distill", "linear", "--into", "fresh", "--made", "8", "--executor", "serial", "--output", "distilled")
EVALUATE = ("evaluate", "linear", "--data", "few.extxyz", "--json")


class Workplace:
    """The folder in which cases run, with the cache and the trust store, and a copy of its state before them.

    Attributes
    ----------
    folder : where commands run; stacks in it name their checkpoints by absolute paths, so it never moves
    commands : what runs them
    """

    def __init__(self, root: Path, commands: Commands, more: bool = False) -> None:
        self.folder, self.pristine, self.more = root / "work", root / "pristine", more
        self.folder.mkdir(parents=True, exist_ok=True)
        self.commands = commands

    def prepare(self) -> None:
        """Make data, settings and artefacts, which takes about 20 s, and two minutes with `more`."""
        if self.pristine.exists():
            self.restore()
            return
        dataset = labelled(rattled("CH4", 24, seed=0, cell=[7.0, 7.5, 8.0], pbc=True))
        # No base model is exact, so that all errors depend on all base models.
        write_data(self.folder, replace(dataset, forces=1.1 * dataset.forces + 0.1 * np.sin(dataset.forces)))
        (self.folder / "in.lammps").write_text(LAMMPS_INPUT)
        (self.folder / "nep.txt").touch()
        settings = self.folder / "elmlff.toml"
        settings.write_text(SETTINGS)
        self._made(*TRAIN)
        shutil.copyfile(self._checkpoint("fresh"), self.folder / "nep.txt")
        if self.more:
            settings.write_text(SETTINGS + MORE_TRAINED)
            for name, copy in (("painn-once", "painn.safetensors"), ("deep-once", "deep.pth")):
                self._made("train", name)
                shutil.copyfile(self._checkpoint(name), self.folder / copy)
            settings.write_text(SETTINGS + MORE_SETTINGS)
        for arguments in (STACK, BUNDLED, SWEEP, *((DISTILL,) if self.more else ())):
            self._made(*arguments)
        shutil.copytree(self.folder, self.pristine)

    def restore(self) -> None:
        """Undo what a case has changed."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.pristine, self.folder)

    def run(self, *arguments: str, limit: float = CPU_LIMIT) -> Ending:
        """Run a command in the folder."""
        return run_in_workplace(self.commands, self.folder, *arguments, limit=limit)

    def files(self, *folders: str) -> list[str]:
        """Return the paths of the files below `folders` before cases change them, without locks."""
        found = [path for folder in folders for path in sorted((self.pristine / folder).rglob("*")) if path.is_file()]
        return [str(path.relative_to(self.pristine)) for path in found if "lock" not in path.name]

    def _made(self, *arguments: str) -> None:
        ending = self.run(*arguments, limit=300)
        assert ending.kind == "success", ending

    def _checkpoint(self, name: str) -> Path:
        (folder,) = (self.folder / "elmlff-models").glob(f"{name}-*")
        return next(path for path in sorted(folder.iterdir()) if path.suffix in (".txt", ".safetensors", ".pth"))


def write_data(folder: Path, dataset: Dataset) -> None:
    """Write the labelled structures in several formats: ``few.extxyz``, ``.xyz``, ``.traj``, ``.json`` and ``npy/``."""
    assert dataset.energy is not None
    structures = []
    for index, atoms in enumerate(dataset.structures):
        copy = atoms.copy()
        copy.arrays["REF_forces"], copy.info["REF_energy"] = dataset.forces_of(index), dataset.energy[index]
        copy.info["REF_stress"] = np.linspace(-0.01, 0.01, 6)
        structures.append(copy)
    ase.io.write(folder / "few.extxyz", structures)
    for name in ("few.traj", "few.xyz", "few.json"):
        ase.io.write(folder / name, structures[:6])
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
