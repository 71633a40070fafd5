"""The chain rule for energies that are composed of the energies of base models.

For E(R, E_1..E_M) the forces are minus the derivative by the positions at fixed E_m, and the base forces times the
shares dE/dE_m.  The stress follows by the same rule.

Shapes: B structures of N atoms, E edges, M base models.
"""

from __future__ import annotations

import torch

from elmlff_core.graphs.batch import GraphBatch


def forces_from(batch: GraphBatch, shares: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return the forces (N, 3), eV/Å, from shares (B, M) and dE/d(vectors) (E, 3), eV/Å."""
    combined = forces_of_base_models(batch, shares)
    source, target = batch.edges
    gradient = gradient.to(combined.dtype)
    # A vector is source minus target, so the gradient has opposite signs for source and target.
    return combined.index_add(0, source, -gradient).index_add(0, target, gradient)


def forces_of_base_models(batch: GraphBatch, shares: torch.Tensor) -> torch.Tensor:
    """Return the base forces times their shares (B, M): (N, 3), eV/Å."""
    return (shares[batch.structure_index].unsqueeze(2) * batch.base_forces).sum(dim=1)


def stress_from(batch: GraphBatch, shares: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor | None:
    """Return the stress (B, 6), eV/Å³, from the same; None if the batch has no base stresses.

    It is the sum of the stresses of the base models times their shares, and the virial of the gradient by volume.
    """
    if batch.base_stresses is None:
        return None
    assert batch.vectors is not None
    assert batch.volumes is not None
    of_edge = batch.structure_index[batch.edges[1]]
    zeros = batch.base_stresses.new_zeros(len(batch.n_atoms), 3)
    # One row at a time: all nine products of each edge would take a tenth of a gigabyte for a million edges.
    rows = [zeros.index_add(0, of_edge, (batch.vectors[:, k : k + 1] * gradient).to(zeros.dtype)) for k in range(3)]
    virial = torch.stack(rows, dim=1)  # (B, 3, 3), eV
    symmetric = (virial + virial.transpose(1, 2)) / (2 * batch.volumes[:, None, None])
    combined = torch.einsum("bm,bma->ba", shares, batch.base_stresses)
    return combined + symmetric[:, [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]  # Voigt's order
