"""Time of neighbour graphs from 54 to a million atoms: scaling with atoms, and comparison with a distance matrix."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from measuring import Comparison, medians, shown
from structures import crystal
from vesin import NeighborList

from elmlff_core.graphs.neighbours import minimum_image_edges, periodic_edges

CUTOFF = 5.0
SKIN = 0.5  # Å
SIZES = (54, 500, 2_000, 20_000, 200_000, 1_000_000)


def matrix_edges(atoms: Atoms, cutoff: float) -> np.ndarray:
    """Find the edges from all distances, with minimum images in an orthogonal cell: O(N²)."""
    difference = atoms.positions[:, None] - atoms.positions[None]
    lengths = atoms.cell.lengths()
    difference -= lengths * np.round(difference / lengths)
    close = np.linalg.norm(difference, axis=-1) < cutoff
    np.fill_diagonal(close, False)
    return np.stack(np.nonzero(close))


def vesin_alone(atoms: Atoms, full_list: bool) -> None:
    """Find the pairs with vesin, without further processing."""
    NeighborList(cutoff=CUTOFF, full_list=full_list).compute(
        points=atoms.positions, box=atoms.cell.array, periodic=atoms.pbc, quantities="ijD" if full_list else "ij"
    )


class KeptPairs:
    """Pairs within the cutoff and a skin, found once; each step computes their vectors and drops those beyond."""

    def __init__(self, atoms: Atoms) -> None:
        first, second, self.shifts = NeighborList(cutoff=CUTOFF + SKIN, full_list=True).compute(
            points=atoms.positions, box=atoms.cell.array, periodic=atoms.pbc, quantities="ijS"
        )
        order = np.lexsort((second, first))
        self.target, self.source, self.shifts = first[order], second[order], self.shifts[order].astype(float)

    def edges(self, atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
        """Return what `periodic_edges` returns."""
        positions = atoms.positions
        vectors = positions[self.source] - positions[self.target] + self.shifts @ atoms.cell.array
        within = np.einsum("ex,ex->e", vectors, vectors) <= CUTOFF**2
        return np.stack([self.source[within], self.target[within]]), vectors[within]


def compare_kept(n_atoms: int) -> None:
    """Compare a list that is kept for many steps with one made anew in each, for the meta-models' graphs."""
    atoms = crystal(n_atoms)
    kept = KeptPairs(atoms)
    atoms.rattle(0.05, seed=1)
    (edges, vectors), (expected, _) = kept.edges(atoms), periodic_edges(atoms, CUTOFF)
    assert edges.shape == expected.shape
    assert np.linalg.norm(vectors, axis=1).max() <= CUTOFF
    times = medians({"kept": lambda: kept.edges(atoms), "anew": lambda: periodic_edges(atoms, CUTOFF)}, repeats=15)
    per_atom = {name: seconds / len(atoms) for name, seconds in times.items()}
    Comparison(
        f"pairs of {len(atoms):,} atoms, kept with a skin of {SKIN} Å, per atom", "made anew", shown(per_atom["kept"]),
        shown(per_atom["anew"]), per_atom["kept"] / per_atom["anew"], 1.0, "at most",
        "the meta-model costs ten times as much: see meta_model_cost.py",
    ).print()  # fmt: skip


def main() -> None:
    """Check that both find the same pairs, then measure the times."""
    atoms = crystal(2_000)
    assert np.array_equal(minimum_image_edges(atoms, CUTOFF), matrix_edges(atoms, CUTOFF))
    times = medians(
        {
            "here": lambda: minimum_image_edges(atoms, CUTOFF),
            "matrix": lambda: matrix_edges(atoms, CUTOFF),
            "vesin": lambda: vesin_alone(atoms, full_list=False),
        }
    )
    Comparison(
        f"neighbours, {len(atoms):,} atoms", "distance matrix in NumPy", shown(times["here"]), shown(times["matrix"]),
        times["matrix"] / times["here"], 50.0, "at least",
        f"same pairs; lower limit is vesin alone, each pair once and unsorted: {shown(times['vesin'])}, "
        f"{times['matrix'] / times['vesin']:.0f} times as fast",
    ).print()  # fmt: skip
    per_atom, alone = {}, {}
    for size in SIZES:
        atoms = crystal(size)
        repeats = 5 if size <= 20_000 else 1
        spent = medians(
            {
                "graph": lambda atoms=atoms: periodic_edges(atoms, CUTOFF),
                "vesin": lambda atoms=atoms: vesin_alone(atoms, full_list=True),
            },
            repeats,
        )
        per_atom[size], alone[size] = spent["graph"] / len(atoms), spent["vesin"] / len(atoms)
        print(
            f"{len(atoms):>9,} atoms: {shown(spent['graph'])}, {shown(per_atom[size])} an atom, "
            f"{shown(alone[size])} of it vesin"
        )
    Comparison(
        "neighbours, 1,000,000 atoms, per atom", "20,000 atoms", shown(per_atom[1_000_000]), shown(per_atom[20_000]),
        per_atom[1_000_000] / per_atom[20_000], 1.5, "at most",
        f"linear in the atoms, apart from effects of caches: vesin alone {alone[1_000_000] / alone[20_000]:.2f}",
    ).print()  # fmt: skip

    for size in (54, 864, 2_000):
        compare_kept(size)


if __name__ == "__main__":
    main()
