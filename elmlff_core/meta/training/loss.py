"""The loss of neural meta-models."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from elmlff_core.graphs.batch import GraphBatch
from elmlff_core.graphs.network import Network, NetworkOutputs
from elmlff_core.settings.config import TrainingConfig

# Below this, in units of the output scale, the norm of an error is smoothed, because its gradient jumps at zero.
SMOOTHING = 0.01
# How often each component of Voigt's order, xx yy zz yz xz xy, is in the tensor.
IN_TENSOR = (1.0, 1.0, 1.0, 2.0, 2.0, 2.0)


@dataclass(frozen=True)
class Labelled:
    """A batch with its labels, or the part of a batch that one of several processes has.

    Attributes
    ----------
    graphs : B structures of N atoms
    forces : (N, 3), eV/Å
    energy : (B,), eV, labels of the energy of the network, or None
    stress : (B, 6), eV/Å³, labels of the stress in ASE's Voigt order and sign, NaN for structures without one, or None
    atoms_share, structures_share : which share of the atoms, and of the structures, of the batch this part has; the
        losses of all parts, means that count by these, add up to the loss of the batch
    """

    graphs: GraphBatch
    forces: torch.Tensor
    energy: torch.Tensor | None = None
    stress: torch.Tensor | None = None
    atoms_share: float = 1.0
    structures_share: float = 1.0

    def to(self, device: torch.device | str) -> Labelled:
        """Return the same batch on another device."""
        energy = None if self.energy is None else self.energy.to(device)
        stress = None if self.stress is None else self.stress.to(device)
        return replace(self, graphs=self.graphs.to(device), forces=self.forces.to(device), energy=energy, stress=stress)


def training_loss(
    network: Network, labelled: Labelled, settings: TrainingConfig, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss, and the force errors (N, 3) in eV/Å.

    Force errors are in units of `scale` (eV/Å).  If there are energy labels with a weight, the energy error per atom is
    added, in units of `scale` times one Å.  So is the stress error, if there are stress labels with a weight: times the
    volume per atom it is an energy per atom too, so that vacuum does not dilute it.  A standard deviation that the
    network learns is fitted to the force errors, which it does not change.

    Parameters
    ----------
    network : network; it must give energies if its graphs have energy labels, and stresses if they have stress labels
    labelled : one batch, or a part of one with at least one structure
    settings : training settings
    scale : unit of force errors, eV/Å
    """
    energy_label = labelled.energy if settings.energy_weight else None
    stress_label = labelled.stress if settings.stress_weight else None
    outputs = network.outputs(labelled.graphs)
    error = outputs.forces - labelled.forces
    loss = labelled.atoms_share * _force_loss(error / scale, settings.loss)
    if outputs.forces_std is not None:
        loss = loss + labelled.atoms_share * _likelihood_loss(error.detach() / scale, outputs.forces_std / scale)
    if settings.energy_weight and energy_label is not None:
        assert outputs.energy is not None, "graphs with reference energies are for networks with an energy"
        per_atom = (outputs.energy - energy_label) / (labelled.graphs.n_atoms * scale)
        loss = loss + settings.energy_weight * labelled.structures_share * per_atom.abs().mean()
    if settings.stress_weight and stress_label is not None:
        stress_loss = _stress_loss(outputs, labelled.graphs, stress_label, scale)
        loss = loss + settings.stress_weight * labelled.structures_share * stress_loss
    return loss, error


def _force_loss(error: torch.Tensor, kind: str | None) -> torch.Tensor:
    if kind == "norm":
        return (error.square().sum(dim=-1) + SMOOTHING**2).sqrt().mean()
    return error.square().mean()


def _stress_loss(outputs: NetworkOutputs, graphs: GraphBatch, label: torch.Tensor, scale: float) -> torch.Tensor:
    """Return the norm of the errors of the stress tensors times the volume per atom, summed and divided by B.

    A structure without a label adds zero, and each label counts the same, whatever batch it is in.
    """
    assert outputs.stress is not None, "graphs with reference stresses are for networks with a stress"
    assert graphs.volumes is not None
    given = label.isfinite().all(dim=1)  # chosen first: a gradient of zero times NaN is NaN
    per_atom = (graphs.volumes / graphs.n_atoms / scale)[given].unsqueeze(1)
    error = per_atom * (outputs.stress[given] - label[given])
    squared = (error.square() * error.new_tensor(IN_TENSOR)).sum(dim=1)
    return (squared + SMOOTHING**2).sqrt().sum() / len(label)


def _likelihood_loss(error: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Return the negative log-likelihood per component of errors (N, 3), for normal distributions of width (N,)."""
    return (std.log() + error.square().mean(dim=1) / (2 * std.square())).mean()
