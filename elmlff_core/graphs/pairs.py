"""Pairs: what an atom takes up from its neighbours by attention.

Shapes: N atoms, E edges, H heads with C channels each.
"""

from __future__ import annotations

import torch

from elmlff_core.graphs import messages as compiled
from elmlff_core.graphs.edge_sums import products, weighted_sums
from elmlff_core.graphs.edges import Edges

# Keeps the logarithm finite for a neighbour exactly at the cutoff.
SMALLEST_ENVELOPE = 1e-30


class Pairs:
    """Neighbour pairs of a batch, or of a block of its atoms as targets.

    Parameters
    ----------
    edges : E edges
    radial, envelope, units : (K, E), (E,), (3, E), of the edges
    twice : whether messages may be differentiated twice, which compiled loops do not allow
    """

    def __init__(
        self, edges: Edges, radial: torch.Tensor, envelope: torch.Tensor, units: torch.Tensor, twice: bool = True
    ) -> None:
        self.edges = edges
        self.twice = twice
        self.radial = radial
        self.log_envelope = envelope.clamp(min=SMALLEST_ENVELOPE).log()
        self.units = units

    def messages(
        self,
        queries: torch.Tensor,
        values: torch.Tensor,
        vectors: torch.Tensor | None,
        weight: torch.Tensor,
        bias: torch.Tensor,
        gain: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sums over neighbours of what they pass on, with weights by attention.

        Features F = H C are head by head.

        Parameters
        ----------
        queries : (n, F), of the targets
        values : (N, 3 F), of the sources: keys, scalars that are passed on, and scalars that point along the edges
        vectors : (N, 3, 2 F), of the sources: vectors that are carried over, and vectors that are projected on the
            edges; None if they are zero
        weight, bias : (4 H, K), (4 H,), that map the radial functions to what the distance adds to the scores, and by
            what it multiplies the weights of scalars, vectors and directions
        gain : factor of the results

        Returns
        -------
        scalars : (n, 2 F): sums of what is passed on, and of projections
        vectors : (n, 3, 2 F): sums of what is carried over, and of what points along the edges
        """
        of_distance = self.radial_values(weight, bias)
        heads = len(bias) // 4
        if not self.twice and compiled.can_be_compiled(self.edges, heads, queries.shape[1] // heads):
            return compiled.messages(
                self.edges, queries, values, vectors, of_distance, self.log_envelope, self.units, gain
            )
        return self.composed_messages(queries, values, vectors, of_distance, gain)

    def composed_messages(
        self,
        queries: torch.Tensor,
        values: torch.Tensor,
        vectors: torch.Tensor | None,
        of_distance: torch.Tensor,
        gain: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the same as `messages` from operations of PyTorch, for `of_distance` (4 H, E)."""
        heads = len(of_distance) // 4
        bias, for_scalars, for_vectors, for_directions = of_distance.view(4, heads, -1).unbind(0)  # (H, E) each
        # Sums over neighbours want the heads first.
        query = queries.unflatten(1, (heads, -1)).transpose(0, 1)  # (H, n, C)
        key, passed, pointed = values.unflatten(1, (3, heads, -1)).permute(1, 2, 0, 3)  # (H, N, C) each
        weights, total = self.attention(query.shape[2] ** -0.5 * query, key, bias)
        seen = self.sum(weights * for_scalars, passed)  # (H, n, C)
        if vectors is None:
            pointing = self.sum_along_units(weights * for_directions, pointed.unsqueeze(0))  # (3, H, n, C)
            moved, along = torch.zeros_like(pointing), torch.zeros_like(seen)
        else:
            carried, projected = vectors.unflatten(2, (2, heads, -1)).permute(2, 1, 3, 0, 4)  # (3, H, N, C) each
            table = carried.permute(1, 2, 0, 3).flatten(2)  # (H, N, 3 C)
            moved = self.sum(weights * for_vectors, table).unflatten(2, (3, -1)).movedim(2, 0)
            # One sum for both: the scalar along the unit vector, and the vector projected on it.
            both = torch.cat([pointed.expand_as(projected), projected], dim=-1)
            pointing, along = self.sum_along_units(weights * for_directions, both).chunk(2, dim=-1)
            along = along.sum(dim=0)
        share = (gain / total).unsqueeze(-1)
        scalars = torch.stack([seen, along]) * share  # (2, H, n, C)
        moved_and_pointing = torch.stack([moved, pointing], dim=1) * share  # (3, 2, H, n, C)
        return scalars.permute(2, 0, 1, 3).flatten(1), moved_and_pointing.permute(3, 0, 1, 2, 4).flatten(2)

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
