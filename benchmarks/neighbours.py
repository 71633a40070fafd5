"""Neighbour graphs from 54 to a million atoms: linear in the atoms, and against a distance matrix in NumPy."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from measuring import Row, medians, shown
from structures import crystal

from elmlff_core.graphs.neighbours import minimum_image_edges, periodic_edges

CUTOFF = 5.0
SIZES = (54, 500, 2_000, 20_000, 200_000, 1_000_000)


def matrix_edges(atoms: Atoms, cutoff: float) -> np.ndarray:
    """All distances under the minimum-image convention of an orthogonal cell: O(N²)."""
    difference = atoms.positions[:, None] - atoms.positions[None]
    lengths = atoms.cell.lengths()
    difference -= lengths * np.round(difference / lengths)
    close = np.linalg.norm(difference, axis=-1) < cutoff
    np.fill_diagonal(close, False)
    return np.stack(np.nonzero(close))


def main() -> None:
    """Check that both find the same pairs, then time."""
    atoms = crystal(2_000)
    assert np.array_equal(minimum_image_edges(atoms, CUTOFF), matrix_edges(atoms, CUTOFF))
    times = medians({"here": lambda: minimum_image_edges(atoms, CUTOFF), "matrix": lambda: matrix_edges(atoms, CUTOFF)})
    Row(
        f"neighbours, {len(atoms):,} atoms", "distance matrix in NumPy", shown(times["here"]), shown(times["matrix"]),
        times["matrix"] / times["here"], 50.0, "at least", "same pairs",
    ).print()  # fmt: skip
    per_atom = {}
    for size in SIZES:
        atoms = crystal(size)
        repeats = 5 if size <= 20_000 else 1
        spent = medians({"graph": lambda atoms=atoms: periodic_edges(atoms, CUTOFF)}, repeats)["graph"]
        per_atom[size] = spent / len(atoms)
        print(f"{len(atoms):>9,} atoms: {shown(spent)}, {shown(per_atom[size])} an atom")
    Row(
        "neighbours, 1,000,000 atoms, per atom", "20,000 atoms", shown(per_atom[1_000_000]), shown(per_atom[20_000]),
        per_atom[1_000_000] / per_atom[20_000], 1.5, "at most", "linear in the atoms",
    ).print()  # fmt: skip


if __name__ == "__main__":
    main()
