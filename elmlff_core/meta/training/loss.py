"""The loss of neural meta-models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from elmlff_core.graphs.batch import GraphBatch
from elmlff_core.settings.config import TrainingConfig

Forward = Callable[[GraphBatch], torch.Tensor]

# Below this, in units of the output scale, the norm of an error is smoothed: its gradient has a kink at zero.
SMOOTHING = 0.01


@dataclass(frozen=True)
class Labelled:
    """A batch with its labels.

    Attributes
    ----------
    graphs : B structures of N atoms
    forces : (N, 3), eV/Å
    energy : (B,), eV, what the network should give as its energy, or None
    """

    graphs: GraphBatch
    forces: torch.Tensor
    energy: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> Labelled:
        """The same on another device."""
        energy = None if self.energy is None else self.energy.to(device)
        return Labelled(self.graphs.to(device), self.forces.to(device), energy)


def training_loss(
    network: Any, labelled: Labelled, settings: TrainingConfig, scale: float, forward: Forward | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss, and the force errors (N, 3) in eV/Å.

    Forces come from `forward`, a faster form of the network, where it gives nothing but forces.

    Errors count in units of `scale` (eV/Å).  Where energies are weighted, the network has a method
    ``energy_and_forces``, and the energy error is that per atom, in units of `scale` times one Å.  Where it learns a
    standard deviation too, that is fitted to the errors as they are.
    """
    if getattr(network, "variance", None) is not None:
        forces, std = network.forces_and_std(labelled.graphs)
        error = forces - labelled.forces
        return _force_loss(error / scale, settings.loss) + _likelihood_loss(error.detach() / scale, std / scale), error
    if not settings.energy_weight or labelled.energy is None:
        error = (network if forward is None else forward)(labelled.graphs) - labelled.forces
        return _force_loss(error / scale, settings.loss), error
    energy, forces = network.energy_and_forces(labelled.graphs)
    error = forces - labelled.forces
    per_atom = (energy - labelled.energy) / (labelled.graphs.n_atoms * scale)
    return _force_loss(error / scale, settings.loss) + settings.energy_weight * per_atom.abs().mean(), error


def _force_loss(error: torch.Tensor, kind: str | None) -> torch.Tensor:
    if kind == "norm":
        return (error.square().sum(dim=-1) + SMOOTHING**2).sqrt().mean()
    return error.square().mean()


def _likelihood_loss(error: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of errors (N, 3) under normal distributions of the widths (N,), per component."""
    return (std.log() + error.square().mean(dim=1) / (2 * std.square())).mean()
