"""`egat`: equivariant graph attention over base predictions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from elmlff_core.contracts.features import Features
from elmlff_core.features.descriptor_components import DescriptorComponents
from elmlff_core.features.guard import Guard
from elmlff_core.graphs.batch import GraphBatch, GraphDataset
from elmlff_core.graphs.masks import HiddenModels, Masks
from elmlff_core.graphs.network import Network, NetworkOutputs
from elmlff_core.graphs.pairs_of_batch import make_pairs
from elmlff_core.graphs.radial import RadialBasis
from elmlff_core.meta.equivariant import EquivariantStack, GatedHead, Readout, StdHead, compressed, norm
from elmlff_core.meta.equivariant_meta import EquivariantMeta
from elmlff_core.meta.neural import start_at_linear_combination
from elmlff_core.meta.options import EGATOptions


class EGATNetwork(Network):
    """Network that predicts forces (N, 3) in eV/Å from a `GraphBatch` with images.

    Base forces enter as vectors, compressed in magnitude, and as invariants: norms, mutual scalar products and the
    committee spread.  Components of descriptors of base models, if there are any, are further invariants.  The output
    is the linear combination, plus the deviation of each base model from it weighted by a learnt gate, plus a learnt
    vector.  Gates and vector are zero at first, so the network starts as the linear combination.
    """

    atomic_numbers: torch.Tensor
    combination: torch.Tensor
    input_scale: torch.Tensor
    deviation_scale: torch.Tensor
    input_pairs: torch.Tensor

    def __init__(
        self,
        options: EGATOptions,
        n_models: int,
        atomic_numbers: torch.Tensor,
        n_neighbours: float,
        n_components: int = 0,
    ) -> None:
        super().__init__()
        n_elements, width = len(atomic_numbers), options.width
        self.register_buffer("atomic_numbers", atomic_numbers)  # (K,) of the elements, ascending
        self.register_buffer("combination", torch.zeros(n_elements, n_models))
        self.register_buffer("input_scale", torch.tensor(1.0))
        self.register_buffer("deviation_scale", torch.tensor(1.0))
        self.remove_net_force = options.remove_net_force
        self.basis = RadialBasis(options.n_radial, options.cutoff)
        n_vectors = n_models + 1 if n_models else 0
        # Pairs of inputs, each with itself too, whose products are invariants.
        self.register_buffer("input_pairs", torch.triu_indices(n_vectors, n_vectors), persistent=False)
        self.embedding = nn.Embedding(n_elements, width)
        if n_models:
            n_invariants = n_vectors * (n_vectors + 1) // 2 + n_vectors + 1 + n_components
            self.invariants = nn.Sequential(nn.Linear(n_invariants, width), nn.SiLU(), nn.Linear(width, width))
        self.vectors = nn.Parameter(torch.randn(n_elements, n_vectors, width) / max(n_vectors, 1) ** 0.5)
        self.stack = EquivariantStack(width, options.layers, options.heads, options.n_radial, n_neighbours)
        self.head = GatedHead(self.stack.width, 2 * width, n_models)
        self.variance = StdHead(self.stack.width, width) if options.variance else None

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return the forces on all atoms of the batch: (N, 3), eV/Å."""
        return self._forces(batch, self.head)[0]

    def outputs(self, batch: GraphBatch) -> NetworkOutputs:
        """Return the forces and, if it is learnt, the standard deviation of their components."""
        if self.variance is None:
            return NetworkOutputs(self(batch))
        forces, std = self._forces(batch, self._head_and_variance)
        return NetworkOutputs(forces, forces_std=self.output_scale * std)

    def _head_and_variance(self, scalars: torch.Tensor, vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        assert self.variance is not None
        return *self.head(scalars, vectors), self.variance(scalars, vectors)

    def _forces(self, batch: GraphBatch, readout: Readout) -> tuple[torch.Tensor, ...]:
        """Return forces (N, 3), eV/Å, and what `readout` gives beside the gates and vectors of the head."""
        element = torch.searchsorted(self.atomic_numbers, batch.atomic_numbers)  # (N,)
        combined = batch.combined(self.combination[element])  # (N, 3)
        deviations = batch.base_forces - combined.unsqueeze(1)  # (N, M, 3)
        inputs = self._inputs(combined, deviations)  # (N, M + 1, 3)
        scalars = self.embedding(element)
        if inputs.shape[1]:
            invariants = self._invariants(inputs)
            if batch.components is not None:
                invariants = torch.cat([invariants, batch.components], dim=1)
            scalars = scalars + self.invariants(invariants)
        # Not a product of matrices: those of two or three rows take five times as long.
        vectors = (inputs.unsqueeze(3) * self.vectors[element].unsqueeze(2)).sum(dim=1)  # (N, 3, F)
        pairs = make_pairs(batch, self.basis, in_blocks=not self.training, twice=False)
        gates, learnt, *others = self.stack(scalars, vectors, pairs, readout)
        forces = combined + (gates.unsqueeze(2) * deviations).sum(dim=1) + self.output_scale * learnt
        if self.remove_net_force:
            forces = _without_net_force(forces, batch)
        return forces, *others

    def _inputs(self, combined: torch.Tensor, deviations: torch.Tensor) -> torch.Tensor:
        if not deviations.shape[1]:
            return deviations
        parts = [(combined / self.input_scale).unsqueeze(1), deviations / self.deviation_scale]
        return compressed(torch.cat(parts, dim=1))

    def _invariants(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return norms, mutual scalar products and committee spread of inputs (N, M + 1, 3): (N, n_invariants)."""
        first, second = self.input_pairs
        products = (inputs.index_select(1, first) * inputs.index_select(1, second)).sum(dim=2)
        norms = norm(inputs.transpose(1, 2))  # (N, M + 1)
        spread = norms[:, 1:].square().mean(dim=1, keepdim=True).sqrt()
        return torch.cat([products, norms, spread], dim=-1)


def _without_net_force(forces: torch.Tensor, batch: GraphBatch) -> torch.Tensor:
    """Return forces (N, 3) less the mean force of their structure."""
    total = forces.new_zeros(len(batch.n_atoms), 3).index_add(0, batch.structure_index, forces)
    return forces - (total / batch.n_atoms.unsqueeze(1))[batch.structure_index]


class EGATMeta(EquivariantMeta):
    """The meta-model `egat`: equivariant graph attention over base predictions."""

    options: EGATOptions
    takes_masks = True

    def _fit_guard(self, train: Features) -> Guard | None:
        # A network can use large deviations, so its limits are wide unless base models explode in training.
        return Guard.fit(train, cost=-0.05) if self.options.guard else None

    def _build(self) -> EGATNetwork:
        return EGATNetwork(*self._arguments())

    def _arguments(self) -> tuple[Any, ...]:
        return *super()._arguments(), self.shapes.get("n_components", 0)

    def _fit_components(self, train: Features) -> DescriptorComponents | None:
        if not train.descriptors or not self.options.components:
            return None
        return DescriptorComponents.fit(train, self.options.components)

    def _shapes(self, train: Features) -> dict[str, Any]:
        n_components = 0 if self.components is None else self.components.axes.shape[1]
        return super()._shapes(train) | {"n_components": n_components}

    def _start(self, network: Network, train: Features) -> None:
        assert isinstance(network, EGATNetwork)
        start_at_linear_combination(network, train)

    def _hidden(self, network: Network) -> Masks | None:
        assert isinstance(network, EGATNetwork)
        n_models = network.combination.shape[1]
        if not self.options.hidden or not n_models:
            return None
        return HiddenModels(network.atomic_numbers, network.combination, self.options.hidden)

    def _graphs(self, features: Features) -> GraphDataset:
        graphs = GraphDataset.from_features(features, self.options.cutoff, images=True)
        if self.components is None:
            return graphs
        return replace(graphs, components=torch.from_numpy(self.components.of(features)))
