"""Edges, compared with a brute-force minimum over periodic images."""

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100

from elmlff_core.graphs.neighbours import minimum_image_edges


def brute_force(atoms: Atoms, cutoff: float) -> set[tuple[int, int]]:
    """Return pairs whose nearest image among many is within the cutoff."""
    ranges = [range(-8, 9) if periodic else (0,) for periodic in atoms.pbc]
    shifts = np.array(list(itertools.product(*ranges))) @ atoms.cell.array  # (S, 3)
    difference = atoms.positions[None, :, None] + shifts - atoms.positions[:, None, None]
    distance = np.linalg.norm(difference, axis=-1).min(axis=-1)
    n_atoms = len(atoms)
    return {(i, j) for i in range(n_atoms) for j in range(n_atoms) if i != j and distance[i, j] <= cutoff}


def skewed() -> Atoms:
    rng = np.random.default_rng(3)
    cell = [[4.0, 0, 0], [1.5, 5, 0], [-1, 2, 6]]
    return Atoms("H12", scaled_positions=rng.random((12, 3)), cell=cell, pbc=True)


CASES = {
    "molecule": Atoms("CH4", positions=np.random.default_rng(0).normal(size=(5, 3)) * 2),
    "small cell": bulk("Cu", cubic=True),
    "skewed cell": skewed(),
    "slab": fcc100("Cu", (2, 2, 3), vacuum=5),
    "mixed periodicity": Atoms(
        "H8", positions=np.random.default_rng(1).random((8, 3)) * 9, cell=[3, 0, 4], pbc=[1, 0, 1]
    ),
    "outside the cell": Atoms("H3", positions=[[0, 0, 0], [13, 0, 0], [-21, 0, 1]], cell=[6, 6, 6], pbc=True),
    "one atom": Atoms("H", cell=[2, 2, 2], pbc=True),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cutoff", [2.1, 5.0])
def test_edges(name, cutoff):
    edges = minimum_image_edges(CASES[name], cutoff)
    assert set(map(tuple, edges.T.tolist())) == brute_force(CASES[name], cutoff)
    assert edges.shape[1] == len(set(map(tuple, edges.T.tolist())))
