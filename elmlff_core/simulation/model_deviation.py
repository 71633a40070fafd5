"""Model deviation of the base models, and its file in the format of DeePMD-kit, which active learning tools read."""

from __future__ import annotations

import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress

from elmlff_core.contracts.features import Features

NAMES = ("max_devi_v", "min_devi_v", "avg_devi_v", "max_devi_f", "min_devi_f", "avg_devi_f", "devi_e")
HEADER = "#" + "step".rjust(11) + "".join(name.rjust(19) for name in NAMES) + "\n"


def model_deviation(features: Features) -> np.ndarray:
    """Return the deviation of the base models of one structure: (7,), in the order of `NAMES`.

    As in DeePMD-kit (Zeng et al., 2023): standard deviations over the models of the virial per atom (eV; largest and
    smallest of nine components, and their norm over three), of the force on each atom (eV/Å; norm over its components),
    and of the energy per atom (eV).  Energies are those that the models give, so that models with other zeros of energy
    differ by these.  What a base model does not give is not a number.
    """
    (atoms,) = features.structures
    n_atoms = len(atoms)
    found = np.full(7, np.nan)
    if all(name in features.stresses for name in features.models) and atoms.cell.rank == 3:
        stresses = np.array([voigt_6_to_full_3x3_stress(features.stresses[name][0]) for name in features.models])
        virials = (atoms.cell.volume / n_atoms * stresses).std(axis=0).ravel()
        found[:3] = virials.max(), virials.min(), np.linalg.norm(virials) / 3
    forces = np.linalg.norm(features.forces.std(axis=0), axis=1)
    found[3:6] = forces.max(), forces.min(), forces.mean()
    if all(name in features.energies for name in features.models):
        found[6] = np.std([features.energies[name][0] / n_atoms for name in features.models])
    return found


def line(step: int, deviation: np.ndarray) -> str:
    """Return one line of ``model_devi.out``."""
    return f"{step:12d}" + "".join(f"{value:19.6e}" for value in deviation) + "\n"
