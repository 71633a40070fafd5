"""Label noise: net forces and torques of the reference labels.

The forces on all atoms of a structure sum to zero, in a vacuum and in a crystal; for a free molecule the torque is zero
as well.  Labels that violate this contain errors of the reference calculation (grids and their orientation, loose
convergence, forces on removed atoms).  A model whose forces are the gradient of an energy cannot reproduce them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order

from elmlff_core.contracts.features import Features
from elmlff_core.plugins.toolkit import NeighbourFinder

# Å; a molecule in a box is free if none of its atoms is nearer than this to a periodic image of another atom.
VACUUM = 5.0
MAX_TORQUES = 500  # evenly spaced structures are enough for an RMS


@dataclass(frozen=True)
class LabelNoise:
    """Net forces and torques of labels, as RMS over structures.

    Attributes
    ----------
    n_structures : number of labelled structures
    net_force : RMS per component of the sum of forces over atoms, eV/Å
    error_floor : lowest RMSE (per component, over structures) of any model whose forces sum to zero, eV/Å; it is the
        RMS of the net force divided evenly among the atoms
    reference_force : RMS per component of the labels themselves, eV/Å, for comparison
    net_torque : RMS per component about the centre of the positions, eV, or None if no structure is a free molecule
    n_torques : number of structures in `net_torque`
    """

    n_structures: int
    net_force: float
    error_floor: float
    reference_force: float
    net_torque: float | None
    n_torques: int


def label_noise(features: Features) -> LabelNoise:
    """Compute net forces and torques of the reference forces; raises DataError if there are none."""
    n_atoms, forces = features.n_atoms, features.reference_forces
    starts = np.cumsum(n_atoms) - n_atoms
    net = np.add.reduceat(forces, starts, axis=0)  # (n_structures, 3)
    squared = sum(float(np.square(block.reference_forces).sum()) for _, block in features.blocks())
    torques = []
    for index in range(0, len(features), -(-len(features) // MAX_TORQUES)):
        positions = free_positions(features.structures[index])
        if positions is not None:
            own = forces[starts[index] : starts[index] + n_atoms[index]]
            torques.append(np.cross(positions - positions.mean(axis=0), own).sum(axis=0))
    return LabelNoise(
        n_structures=len(features),
        net_force=_rms(net),
        error_floor=_rms(net / n_atoms[:, None]),
        reference_force=float(np.sqrt(squared / forces.size)),
        net_torque=_rms(np.array(torques)) if torques else None,
        n_torques=len(torques),
    )


def free_positions(atoms: Atoms) -> np.ndarray | None:
    """Return the positions of a free molecule in one piece, (n_atoms, 3), Å; None if a periodic image is near.

    Atoms less than 5 Å apart are linked.  In a periodic box a molecule or cluster is free if all its atoms are linked
    and none is linked to a periodic image of the molecule.
    """
    if not atoms.pbc.any():
        return np.asarray(atoms.positions)
    i, j, offsets = NeighbourFinder(VACUUM).pairs(atoms)
    if (i == j).any() or (len(atoms) > 1 and not len(i)):
        return None
    n_atoms = len(atoms)
    links = coo_array((np.ones(len(i)), (i, j)), shape=(n_atoms, n_atoms)).tocsr()
    order, previous = breadth_first_order(links, 0)
    if len(order) < n_atoms:
        return None
    offset_of = dict(zip(zip(i.tolist(), j.tolist(), strict=True), offsets, strict=True))
    moved = np.zeros((n_atoms, 3))
    for atom in order[1:].tolist():
        moved[atom] = moved[previous[atom]] + offset_of[int(previous[atom]), atom]
    # Every link must lead to the same image: otherwise the atoms are linked through the periodic boundary.
    if not np.allclose(moved[i] + offsets, moved[j]):
        return None
    return np.asarray(atoms.positions + moved)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))
