"""`conservative`: an energy composed of the energies of the base models, with forces that are exactly its gradient.

The energy of a structure with positions R, where base model m has the aligned energy E_m, is ::

    E(R, E_1..E_M) = E_lin + sum_m g_m(R) (E_m - E_lin) + sum_i e_i(R),    E_lin = sum_m w_m E_m,    sum_m w_m = 1

The gates g_m are means over the atoms of outputs of a network that sees the environment of each atom.  The atomic
energies e_i are outputs of the same network.  By the chain rule the forces are ::

    F = -dE/dR = -(dE/dR at fixed E_m) + sum_m c_m F_m,    c_m = dE/dE_m = w_m + g_m - w_m sum_k g_k

This needs only the energies and forces of the base models, not derivatives of their code.  The forces are exact if
the forces of the base models are minus the gradients of their energies.  The stress follows by the same rule, and is
trained too where labels and base models have one.

Base forces cannot be inputs of the energy, as they are of the forces of `egat`, because this would need their
derivatives.  The standard deviation of the forces, of which no gradient is taken, sees how far they disagree.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from elmlff_core.contracts.features import Features
from elmlff_core.features.energies import EnergyCombination, minimum_variance_weights
from elmlff_core.graphs.batch import GraphBatch
from elmlff_core.graphs.network import Network, NetworkOutputs
from elmlff_core.graphs.pairs_of_batch import make_pairs
from elmlff_core.graphs.radial import RadialBasis
from elmlff_core.meta.chain_rule import forces_from, stress_from
from elmlff_core.meta.energy_meta import EnergyMeta, check_reference_energies, checked_energies, with_nothing
from elmlff_core.meta.equivariant import EquivariantStack, ScalarHead, StdHead
from elmlff_core.meta.neural import RootMeanSquare
from elmlff_core.meta.options import ConservativeOptions


class ConservativeNetwork(Network):
    """Forces, and the energy less the linear combination, from a `GraphBatch` with images.

    The base energies of the batch are the deviations of the base models from the combination.
    """

    atomic_numbers: torch.Tensor
    combination: torch.Tensor

    def __init__(
        self, options: ConservativeOptions, n_models: int, atomic_numbers: torch.Tensor, n_neighbours: float
    ) -> None:
        super().__init__()
        width = options.width
        self.gated = options.weights == "environment" and n_models > 1
        self.register_buffer("atomic_numbers", atomic_numbers)  # (K,) of the elements, ascending
        self.register_buffer("combination", torch.zeros(n_models))
        self.basis = RadialBasis(options.n_radial, options.cutoff)
        self.embedding = nn.Embedding(len(atomic_numbers), width)
        self.stack = EquivariantStack(width, options.layers, options.heads, options.n_radial, n_neighbours)
        self.head = ScalarHead(self.stack.width, 2 * width, 1 + (n_models if self.gated else 0))
        self.variance = StdHead(self.stack.width, width, 1) if options.variance else None

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return the forces (N, 3), eV/Å."""
        _, gates, _, gradient = self.energy_and_gradient(batch)
        return forces_from(batch, self.shares(gates), gradient)

    def outputs(self, batch: GraphBatch) -> NetworkOutputs:
        """Return the forces, the energy less the linear combination, and others.

        These are the stress, if there are base stresses, and the standard deviation of the forces, if it is learnt.
        """
        energy, gates, std, gradient = self.energy_and_gradient(batch)
        forces = forces_from(batch, self.shares(gates), gradient)
        stress = stress_from(batch, self.shares(gates), gradient)
        return NetworkOutputs(forces, energy, stress, std)

    def shares(self, gates: torch.Tensor) -> torch.Tensor:
        """Return dE/dE_m of each structure from its gates (B, M): (B, M)."""
        combination = self.combination.to(gates.dtype)
        return combination + gates - combination * gates.sum(dim=1, keepdim=True)

    def energy_and_gradient(
        self, batch: GraphBatch
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Return the energy and its gradient.

        Returns
        -------
        energy : (B,), eV, less the linear combination
        gates : (B, M)
        std : (N,), eV/Å, the standard deviation of the forces; None if it is not learnt
        gradient : (E, 3), eV/Å, dE/d(vectors) at fixed base energies
        """
        assert batch.vectors is not None
        with torch.enable_grad():
            vectors = batch.vectors.detach().requires_grad_(True)
            energy, gates, std = self._energy(batch.with_vectors(vectors))
            create_graph = self.training
            (gradient,) = torch.autograd.grad(energy.sum(), vectors, create_graph=create_graph, materialize_grads=True)
        if self.training:
            return energy, gates, std, gradient
        return energy.detach(), gates.detach(), None if std is None else std.detach(), gradient

    def _energy(self, batch: GraphBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        assert batch.base_energies is not None
        element = torch.searchsorted(self.atomic_numbers, batch.atomic_numbers)  # (N,)
        scalars = self.embedding(element)
        pairs = make_pairs(batch, self.basis, in_blocks=not self.training, twice=self.training)
        spread = (self._spread(batch),) if self.variance is not None else ()
        numbers, *others = self.stack(scalars, None, pairs, self._read, *spread)  # (N, 1 + M), and perhaps (N,)
        std = self.output_scale * others[0] if others else None
        return *self._summed(batch, numbers), std

    def _summed(self, batch: GraphBatch, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the energy (B,), eV, and the gates (B, M) from the numbers that the head gives for each atom."""
        assert batch.base_energies is not None
        total = batch.base_energies.new_zeros(len(batch.n_atoms), numbers.shape[1])
        total = total.index_add(0, batch.structure_index, numbers.to(total.dtype))  # (B, 1 + M)
        energy = self.output_scale * total[:, 0]
        if not self.gated:
            return energy, torch.zeros_like(batch.base_energies)
        gates = total[:, 1:] / batch.n_atoms.unsqueeze(1)  # means, so that two distant copies have the gates of one
        return energy + (gates * batch.base_energies).sum(dim=1), gates

    def _read(
        self, scalars: torch.Tensor, vectors: torch.Tensor, spread: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        numbers = self.head(scalars, vectors)
        return (numbers,) if self.variance is None else (numbers, self.variance(scalars, vectors, spread))

    def _spread(self, batch: GraphBatch) -> torch.Tensor:
        """Return how far the base models disagree on each force, which the energy must not see: (N, 1)."""
        spread = batch.base_forces.std(dim=1, correction=0).square().mean(dim=1, keepdim=True).sqrt()
        return (spread / self.output_scale).log1p().to(self.output_scale.dtype)


class ConservativeMeta(EnergyMeta):
    """The meta-model `conservative`, whose forces are the gradient of an energy; see the docstring of the module."""

    options: ConservativeOptions
    network: ConservativeNetwork | None

    def _fit_energy(self, train: Features) -> EnergyCombination:
        """Align the base models by their energies, and fit the weights to forces."""
        check_reference_energies(train, "conservative")
        return replace(EnergyCombination.fit(train), weights=force_weights(train))

    def _prepared(self, features: Features) -> Features:
        return _with_a_base(features)

    def _build(self) -> ConservativeNetwork:
        return ConservativeNetwork(*self._arguments())

    def _start(self, network: Network, train: Features) -> None:
        """Start as the linear combination; the output scale is the force error that it leaves."""
        assert isinstance(network, ConservativeNetwork)
        left = RootMeanSquare()
        for _, block in train.blocks():
            left.add(block.reference_forces - np.einsum("m,mrx->rx", self.energy.weights, block.forces))
        network.combination.copy_(torch.from_numpy(self.energy.weights))
        network.output_scale.fill_(left.value or 1.0)


def force_weights(features: Features) -> np.ndarray:
    """Return the weights of the base models, with sum one and the smallest squared force error: (n_models,).

    All elements share one set of weights, because the energies of base models are not divided among atoms.
    """
    covariance = np.zeros((len(features.models), len(features.models)))
    for _, block in features.blocks():
        errors = (block.forces - block.reference_forces).reshape(len(features.models), -1)
        covariance += errors @ errors.T
    covariance /= 3 * features.forces.shape[1]
    return minimum_variance_weights(covariance)


def _with_a_base(features: Features) -> Features:
    """Return `features`, or, if they have no base model, features with one that predicts zero."""
    return checked_energies(features, "conservative") if features.models else with_nothing(features)
