"""Pairs: what an atom takes up from its neighbours by attention.

Shapes: N atoms, E edges, H heads with C channels each.
"""

from __future__ import annotations

import torch

from elmlff_core.graphs.edge_sums import products, weighted_sums
from elmlff_core.graphs.edges import Edges

# Keeps the logarithm finite for a neighbour exactly at the cutoff.
SMALLEST_ENVELOPE = 1e-30


class Pairs:
    """Neighbour pairs of a batch, or of a block of its atoms as targets.

    Parameters
    ----------
    edges : E edges
    radial, envelope, units : (E, K), (E,), (E, 3), of the edges
    """

    def __init__(self, edges: Edges, radial: torch.Tensor, envelope: torch.Tensor, units: torch.Tensor) -> None:
        self.edges = edges
        self.radial = radial.T.contiguous()
        self.log_envelope = envelope.clamp(min=SMALLEST_ENVELOPE).log()
        self.units = units.T.contiguous()

    def radial_values(self, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Map the K radial functions of the distance by `weight` (X, K) and `bias` (X,): (X, E)."""
        return torch.addmm(bias.unsqueeze(1), weight, self.radial)

    def attention(
        self, queries: torch.Tensor, keys: torch.Tensor, bias: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the softmax over the neighbours of each target, weighted with the envelope.

        Scores are the products of queries (H, N, C) of targets and keys (H, N, C) of sources, plus `bias` (H, E).  The
        sum of the softmax includes one additional neighbour of score zero.

        Returns
        -------
        exponentials : (H, E)
        total : (H, N), by which they are to be divided: sums over neighbours are divided at less cost than each edge
        """
        edges = self.edges
        scores = products(queries, keys, edges) + bias + self.log_envelope
        constant = scores.detach()
        target = edges.target.expand_as(constant)
        highest = constant.new_zeros(len(scores), edges.n_targets)  # at least zero
        highest = highest.scatter_reduce(1, target, constant, "amax")
        exponentials = (scores - highest.index_select(1, edges.target)).exp()
        total = (-highest).exp().scatter_add(1, target, exponentials)
        return exponentials, total

    def sum(self, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Sum weights (H, E) times values (H, N, C) of the sources: (H, N, C)."""
        return weighted_sums(weights, values, self.edges)

    def sum_along_units(self, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Sum weights (H, E) times each component of the unit vector from target to source times the values.

        `values` (3, H, N, C) of the sources are those for each component, or (1, H, N, C) for all: (3, H, N, C).
        """
        directed = (self.units.unsqueeze(1) * weights).flatten(0, 1)  # (3 H, E)
        values = values.expand(3, -1, -1, -1).flatten(0, 1)
        return weighted_sums(directed, values, self.edges).unflatten(0, (3, -1))
