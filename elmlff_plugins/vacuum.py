"""Boxes for backends that take every direction as periodic."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell


def in_vacuum(atoms: Atoms, cutoff: float) -> Atoms:
    """`atoms` with vacuum in its non-periodic directions, so that no atom sees an image across them.

    A cell vector of a non-periodic direction is replaced by one normal to the two others, as long as the structure is
    thick plus twice the cutoff; images are then two cutoffs apart.  Positions stay as they are.

    Parameters
    ----------
    atoms : any periodicity; not changed, and returned itself where all directions are periodic
    cutoff : Å

    Returns
    -------
    Atoms
        Without labels and constraints, periodic in all directions.
    """
    if atoms.pbc.all():
        return atoms
    vectors = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)  # (3, 3)
    # Zero vectors become unit vectors normal to the others.
    cell = complete_cell(vectors)  # (3, 3)
    for direction in np.flatnonzero(~atoms.pbc):
        normal = cell[direction]
        thickness = np.ptp(atoms.positions @ normal) if len(atoms) else 0.0
        cell[direction] = normal * (thickness + 2.0 * cutoff)
    return Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=cell, pbc=True)
