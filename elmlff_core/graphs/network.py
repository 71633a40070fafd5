"""Network: what a neural meta-model's network promises to those who train and evaluate it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from elmlff_core.graphs.batch import GraphBatch


@dataclass(frozen=True)
class NetworkOutputs:
    """All that a network says of B structures of N atoms.

    Attributes
    ----------
    forces : (N, 3), eV/Å
    energy : (B,), eV, counted from where the reference energies of its graphs are; or None
    forces_std : (N,), eV/Å, the standard deviation of each force component, or None where it is not learnt
    """

    forces: torch.Tensor
    energy: torch.Tensor | None = None
    forces_std: torch.Tensor | None = None


class Network(nn.Module):
    """Maps graphs of structures with the predictions of base models to forces.

    Attributes
    ----------
    compiles : whether torch.compile makes the training of this class faster
    learns_std : whether `outputs` has a standard deviation, which is then fitted beside the forces
    output_scale : buffer (), eV/Å, how large the errors are that training starts from; one unless set
    """

    compiles: ClassVar[bool] = False
    learns_std: bool = False
    output_scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("output_scale", torch.tensor(1.0))

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Forces on all atoms of the batch: (N, 3), eV/Å."""
        raise NotImplementedError

    def outputs(self, batch: GraphBatch) -> NetworkOutputs:
        """The forces of `forward`, with what else the network gives."""
        return NetworkOutputs(self(batch))
