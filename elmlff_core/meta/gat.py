"""`gat`: the meta-model of the paper, a graph attention network over base predictions.

Node features are the force vectors of all base models and the element (Sec. 2.2, 2.3).  Edges join pairs of atoms
within the cutoff.  The outputs of eight attention layers with residuals (Eq. 4) and jumping knowledge (Eq. 5) are
averaged over the atoms, and one linear layer maps the average to the forces of all atoms (Eq. 6).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from elmlff_core.contracts.features import Features
from elmlff_core.errors import ElmlffError
from elmlff_core.graphs.batch import GraphBatch, GraphDataset
from elmlff_core.graphs.network import Network
from elmlff_core.meta.layers import ResidualGATStack
from elmlff_core.meta.neural import NeuralMeta, start_at_linear_combination
from elmlff_core.meta.options import GATOptions


class GATNetwork(Network):
    """Network that predicts forces (N, 3) in eV/Å from a `GraphBatch`.

    Buffers hold the values that are fixed before training: the elements, the linear combination, and the scales of
    inputs and outputs.  With the ``direct`` target the combination is zero and the scales are one, as in the paper.
    """

    atomic_numbers: torch.Tensor
    combination: torch.Tensor
    input_scale: torch.Tensor
    deviation_scale: torch.Tensor

    def __init__(self, options: GATOptions, n_models: int, atomic_numbers: torch.Tensor, n_slots: int) -> None:
        super().__init__()
        self.pooled = options.readout == "pooled"
        self.n_slots = n_slots
        self.register_buffer("atomic_numbers", atomic_numbers)  # (K,) of the elements, ascending
        self.register_buffer("combination", torch.zeros(len(atomic_numbers), n_models))
        self.register_buffer("input_scale", torch.tensor(1.0))
        self.register_buffer("deviation_scale", torch.tensor(1.0))
        self.learns_delta = options.target == "delta"
        n_vectors = n_models + 1 if self.learns_delta and n_models else n_models
        n_inputs = 3 * n_vectors + len(atomic_numbers)
        self.stack = ResidualGATStack(
            n_inputs, options.channels, options.heads, options.averaged_layers, options.residual
        )
        self.head = nn.Linear(self.stack.width, 3 * n_slots if self.pooled else 3)

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return the forces on all atoms of the batch: (N, 3), eV/Å."""
        element = torch.searchsorted(self.atomic_numbers, batch.atomic_numbers)  # (N,)
        if self.learns_delta:
            combined = batch.combined(self.combination[element])
        else:
            combined = batch.base_forces.new_zeros(len(element), 3)
        forces = self._inputs(batch.base_forces, combined)
        one_hot = nn.functional.one_hot(element, len(self.atomic_numbers)).to(forces.dtype)
        nodes = self.stack(torch.cat([one_hot, forces.flatten(1)], dim=-1), batch)  # (N, width)
        if self.pooled:
            pooled = nodes.unflatten(0, (len(batch.n_atoms), self.n_slots)).mean(dim=1)  # (B, width)
            out = self.head(pooled).view(-1, 3)
        else:
            out = self.head(nodes)
        return combined + self.output_scale * out

    def _inputs(self, base_forces: torch.Tensor, combined: torch.Tensor) -> torch.Tensor:
        """Return the force features.

        With the direct target they are the base forces (N, M, 3).  With the delta target they are the combination and
        the deviations from it (N, M + 1, 3), each with its own scale: good base models differ little, and on the scale
        of the forces these differences would be lost.
        """
        if not self.learns_delta or not base_forces.shape[1]:
            return base_forces
        combined = combined.unsqueeze(1)
        return torch.cat([combined / self.input_scale, (base_forces - combined) / self.deviation_scale], dim=1)


class GATMeta(NeuralMeta):
    """The meta-model `gat`: the graph attention network of the paper."""

    network: GATNetwork | None
    options: GATOptions
    takes_masks = True

    def _shapes(self, train: Features) -> dict[str, Any]:
        """With the pooled head, add the composition and order of atoms, for which alone it is valid."""
        template = train.structures[0].numbers.tolist() if self.options.readout == "pooled" else None
        return super()._shapes(train) | {"template": template}

    def _build(self) -> GATNetwork:
        numbers = torch.tensor(self.shapes["atomic_numbers"])
        return GATNetwork(self.options, self.shapes["n_models"], numbers, len(self.shapes["template"] or ()))

    def _start(self, network: Network, train: Features) -> None:
        """With the delta target, start as the linear combination, with a head that is zero."""
        if self.options.target == "delta":
            assert isinstance(network, GATNetwork)
            start_at_linear_combination(network, train)
            nn.init.zeros_(network.head.weight)
            nn.init.zeros_(network.head.bias)

    def _graphs(self, features: Features) -> GraphDataset:
        return GraphDataset.from_features(features, self.options.cutoff)

    def _rotates(self, train: Features) -> bool:
        """With ``auto``, rotate if no structure has a periodic direction, which would fix its orientation."""
        if self.options.rotate == "auto":
            return not any(atoms.pbc.any() for atoms in train.structures)
        return self.options.rotate

    def _check(self, features: Features) -> None:
        """With the pooled head, also refuse any other composition or order of atoms."""
        super()._check(features)
        template = self.shapes["template"]
        if template is None:
            return
        for index, atoms in enumerate(features.structures):
            if atoms.numbers.tolist() != template:
                raise ElmlffError(
                    f"structure {index}, {atoms.get_chemical_formula()}, differs in composition or order of atoms from "
                    "the first training structure: the pooled head of 'gat' works for one composition and order only; "
                    "use the per-atom head, --set meta.readout=atom"
                )
