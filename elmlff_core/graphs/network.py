"""Network: the interface between the network of a neural meta-model and the code that trains and evaluates it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import nn

from elmlff_core.graphs.batch import GraphBatch


@dataclass(frozen=True)
class NetworkOutputs:
    """All outputs of a network for B structures of N atoms in total.

    Attributes
    ----------
    forces : (N, 3), eV/Å
    energy : (B,), eV, relative to the same zero as the reference energies of its graphs; or None
    stress : (B, 6), eV/Å³, ASE's Voigt order and sign; None if it is not learnt, or the graphs lack what it needs
    forces_std : (N,), eV/Å, the standard deviation of each force component; None if it is not learnt
    """

    forces: torch.Tensor
    energy: torch.Tensor | None = None
    stress: torch.Tensor | None = None
    forces_std: torch.Tensor | None = None


OUTPUTS = tuple(field.name for field in fields(NetworkOutputs))
OF_ATOMS = ("forces", "forces_std")  # these have a row for each atom, the others one for each structure


class OtherForm(Protocol):
    """Another form of a network, which computes the same in less time."""

    def outputs(self, batch: GraphBatch) -> NetworkOutputs | None:
        """Return the outputs of the network, or None for a batch that it does not take."""
        ...


class Network(nn.Module):
    """Base class of networks that map graphs, with predictions of base models, to forces.

    Attributes
    ----------
    compiled : what predicts in place of this network where it can; None unless it is set
    output_scale : buffer (), eV/Å, magnitude of the errors at the start of training; one unless set
    """

    compiled: OtherForm | None = None
    output_scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("output_scale", torch.tensor(1.0))

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return the forces on all atoms of the batch: (N, 3), eV/Å."""
        raise NotImplementedError

    def outputs(self, batch: GraphBatch) -> NetworkOutputs:
        """Return the forces of `forward`, and the other outputs of the network."""
        return NetworkOutputs(self(batch))

    def predicted(self, batch: GraphBatch, forces_only: bool = False) -> NetworkOutputs:
        """Return `outputs`, from the compiled form if it takes `batch`; with `forces_only` perhaps the forces alone."""
        found = None if self.compiled is None else self.compiled.outputs(batch)
        if found is not None:
            return found
        return NetworkOutputs(self(batch)) if forces_only else self.outputs(batch)
