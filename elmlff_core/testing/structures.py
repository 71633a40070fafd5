"""Example structures for checks, and the operations that checks apply to structures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from scipy.spatial.transform import Rotation

FAR_APART = 60.0  # Å, beyond any cutoff


def example_structures(symbols: Iterable[str], spacing: float | None = None, seed: int = 0) -> list[Atoms]:
    """Make three rattled structures: a crystal of eight atoms, a skewed one of six, and a free cluster of five.

    They differ in size and periodicity on purpose, and their cells are smaller than twice a usual cutoff.

    Parameters
    ----------
    symbols : chemical elements; the first five in alphabetical order occur in every structure
    spacing : Å between neighbours before they are rattled; None takes a bond length, a little more than the sum of the
        largest covalent radii
    seed : seed of the displacements
    """
    rng = np.random.default_rng(seed)
    symbols = sorted(symbols)[:5]
    if spacing is None:
        spacing = 2.15 * max(covalent_radii[atomic_numbers[symbol]] for symbol in symbols)
    crystal = _grid((2, 2, 2), spacing, symbols, 8, rng)
    skewed = _grid((3, 2, 1), spacing, symbols, 6, rng)
    shear = spacing * np.array([[0, 0, 0], [0.3, 0, 0], [0, 0.2, 0]])
    skewed.set_cell(skewed.cell.array + shear, scale_atoms=True)
    cluster = _grid((2, 2, 2), spacing, symbols, 5, rng)
    cluster.set_cell(None)
    cluster.pbc = False
    return [crystal, skewed, cluster]


def _grid(
    shape: tuple[int, int, int], spacing: float, symbols: Sequence[str], n_atoms: int, rng: np.random.Generator
) -> Atoms:
    points = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).reshape(-1, 3)[:n_atoms]
    kinds = [symbols[index % len(symbols)] for index in range(n_atoms)]
    positions = points * spacing + rng.uniform(-0.06, 0.06, (n_atoms, 3)) * spacing
    return Atoms(kinds, positions=positions, cell=np.array(shape) * spacing, pbc=True)


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """Draw a proper rotation, uniform over all rotations: (3, 3)."""
    return Rotation.random(None, rng).as_matrix()


def rotated(atoms: Atoms, rotation: np.ndarray) -> Atoms:
    """Return `atoms` with positions and cell rotated by `rotation` (3, 3)."""
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ rotation.T)
    turned.positions = atoms.positions @ rotation.T
    return turned


def translated(atoms: Atoms, shift: np.ndarray) -> Atoms:
    """Return `atoms` with all positions moved by `shift` (3,), Å, without wrapping."""
    moved = atoms.copy()
    moved.positions = atoms.positions + shift
    return moved


def moved_by_lattice_vectors(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Return `atoms` with each atom moved by random lattice vectors, in periodic directions only."""
    steps = rng.integers(-2, 3, (len(atoms), 3)) * atoms.pbc
    moved = atoms.copy()
    moved.positions = atoms.positions + steps @ atoms.cell.array
    return moved


def doubled(atoms: Atoms) -> Atoms:
    """Return two copies of `atoms`: a supercell if a direction is periodic, otherwise two copies far apart."""
    if atoms.pbc.any():
        return atoms.repeat(_supercell(atoms))
    both = atoms + translated(atoms, np.array([np.ptp(atoms.positions[:, 0]) + FAR_APART, 0.0, 0.0]))
    both.pbc = False
    return both


def doubled_name(atoms: Atoms, index: int) -> str:
    """Return a name of what `doubled` makes of `atoms`, structure `index`, for messages."""
    what = f"structure {index} ({atoms.get_chemical_formula()})"
    if not atoms.pbc.any():
        return f"two copies of {what}, {FAR_APART:g} Å apart"
    lengths = " × ".join(f"{length:.3g}" for length in atoms.cell.lengths())
    return f"the {'x'.join(map(str, _supercell(atoms)))} supercell of {what}, whose cell is {lengths} Å"


def _supercell(atoms: Atoms) -> list[int]:
    repeat = [1, 1, 1]
    repeat[int(np.flatnonzero(atoms.pbc)[0])] = 2
    return repeat


def strained(atoms: Atoms, row: int, column: int, amount: float) -> Atoms:
    """Return `atoms` under the symmetric strain whose elements (row, column) and (column, row) are `amount`."""
    strain = np.zeros((3, 3))
    strain[row, column] = strain[column, row] = amount
    deformed = atoms.copy()
    deformed.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return deformed
