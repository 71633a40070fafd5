"""Rattled and strained copper, with and without a vacancy, labelled by ASE's EMT: train.extxyz and test.extxyz.

EMT replaces the electronic structure code that you would use, because it is fast. CHGNet was trained on other labels
(PBE with and without U), so it has large errors here, and the stack should give it little weight.
"""

from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

N_TRAIN, N_TEST = 160, 60
HERE = Path(__file__).parent


def structure(rng: np.random.Generator) -> Atoms:
    """Make copper with up to 3 % strain, displacements of 0.05 to 0.25 Å and, in half the cases, a vacancy."""
    atoms = bulk("Cu", a=3.61, cubic=True).repeat((2, 2, 2))
    strain = np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    if rng.random() < 0.5:
        del atoms[int(rng.integers(len(atoms)))]
    atoms.positions += rng.normal(scale=rng.uniform(0.05, 0.25), size=atoms.positions.shape)
    return atoms


def labelled(atoms: Atoms) -> Atoms:
    """Return the structure with ``REF_energy`` (eV) and ``REF_forces`` (eV/Å)."""
    copy = atoms.copy()
    copy.calc = EMT()
    atoms.info["REF_energy"] = copy.get_potential_energy()
    atoms.arrays["REF_forces"] = copy.get_forces()
    return atoms


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    for name, n_structures in (("train", N_TRAIN), ("test", N_TEST)):
        ase.io.write(HERE / f"{name}.extxyz", [labelled(structure(rng)) for _ in range(n_structures)])
        print(f"{name}.extxyz: {n_structures} structures")
