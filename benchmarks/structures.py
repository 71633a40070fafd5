"""Structures and features of any size for benchmarks: copper with random forces, on which times do not depend."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction


def slabs(n_structures: int, size: tuple[int, int, int] = (3, 6, 3)) -> list[Atoms]:
    """Make copper slabs of 54 atoms, or another `size`, rattled by 0.05 Å."""
    structures = [fcc111("Cu", size, vacuum=8.0, orthogonal=True) for _ in range(n_structures)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.05, seed=seed)
    return structures


def crystal(n_atoms: int) -> Atoms:
    """Make a block of copper of about `n_atoms`, rattled by 0.05 Å."""
    repeats = max(1, round((n_atoms / 4) ** (1 / 3)))
    rest = max(1, round(n_atoms / (4 * repeats**2)))
    atoms = bulk("Cu", cubic=True).repeat((repeats, repeats, rest))
    atoms.rattle(0.05, seed=0)
    return atoms


def random_features(structures: list[Atoms], n_models: int, seed: int = 0) -> Features:
    """Make reference forces of 1 eV/Å, and `n_models` base models with errors of a tenth of it."""
    rng = np.random.default_rng(seed)
    n_rows = sum(map(len, structures))
    reference = rng.normal(size=(n_rows, 3))
    forces = reference + 0.1 * rng.normal(size=(n_models, n_rows, 3))
    n_atoms = np.array([len(atoms) for atoms in structures])
    names = tuple(f"base{index}" for index in range(n_models))
    return Features(structures, names, forces, {}, Prediction(n_atoms, reference))
