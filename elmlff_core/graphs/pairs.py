"""Pairs: sums over the neighbours of each atom, dense on small structures and sparse on large ones.

A network uses these operations and does not depend on their form.  On small structures they are batched matrix products
over padded N x N weights, which on a CPU is several times faster than scattering over edges.  On large structures, or
if a pair is joined through several periodic images, they scatter over edges, with memory linear in the number of edges.

Shapes: N atoms and E edges in total, B structures of at most n atoms, H heads of C channels each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from elmlff_core.graphs.batch import GraphBatch

Tensors = tuple[torch.Tensor, ...]
Layer = Callable[..., Tensors]
# Keeps the logarithm finite for a neighbour exactly at the cutoff.
SMALLEST_ENVELOPE = 1e-30


class Pairs(Protocol):
    """Neighbour pairs of a batch, or of a block of its atoms as targets.

    The shape of per-pair values depends on the form, dense or sparse; a network may only add and multiply them.
    Targets are the N atoms of the batch, or of the block.
    """

    def radial_values(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Map the K radial functions of the distance to per-pair values by `weight` (H, K) and `bias` (H,)."""
        ...

    def scores(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Return scalar products of target queries and source keys, both (N, H, C): one per-pair value per head."""
        ...

    def attention(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the softmax over the neighbours of each atom, weighted with the envelope.

        The sum of the softmax includes one additional neighbour of score zero.
        """
        ...

    def sum(self, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Return weighted sums of the values (N, X, H, C) of the sources at each target: (N, X, H, C)."""
        ...

    def directed(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the weights times the unit vector from target to source."""
        ...

    def along_units(self, directed: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Sum weight times unit vector times scalar (N, H, C) over the sources: vectors (N, 3, H, C)."""
        ...

    def project(self, directed: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Sum weight times (unit vector · vector (N, 3, H, C)) over the sources: scalars (N, H, C)."""
        ...


class DensePairs:
    """Dense form: per-pair values are (B, H, n, n), with targets in rows and sources in columns."""

    def __init__(self, batch: GraphBatch, radial: torch.Tensor, envelope: torch.Tensor, units: torch.Tensor) -> None:
        self.batch = batch
        self.size = batch.max_atoms
        source, target = batch.edges
        at = (batch.structure_index[target], batch.slot[target], batch.slot[source])
        shape = (len(batch.n_atoms), self.size, self.size)
        self.radial = radial.new_zeros(*shape, radial.shape[1]).index_put(at, radial).movedim(-1, 1).contiguous()
        # exp(-inf) is zero, so atoms that are not neighbours get no attention.
        logarithm = envelope.clamp(min=SMALLEST_ENVELOPE).log()
        self.log_envelope = envelope.new_full(shape, -torch.inf).index_put(at, logarithm).unsqueeze(1)
        units = units.new_zeros(*shape, 3).index_put(at, units)
        self.units = units.movedim(-1, 2).unsqueeze(1).contiguous()  # (B, 1, n, 3, n)

    def apply(self, layer: Layer, of_targets: Tensors, of_sources: Tensors) -> Tensors:
        return layer(self, *of_targets, *of_sources)

    def each(self, function: Callable[..., Tensors], *values: torch.Tensor) -> Tensors:
        return function(*values)

    def radial_values(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        values = (weight @ self.radial.flatten(2)).unflatten(2, (self.size, self.size))
        return values if bias is None else values + bias.view(-1, 1, 1)

    def scores(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        return self._by_head(queries) @ self._by_head(keys).transpose(-1, -2)

    def attention(self, scores: torch.Tensor) -> torch.Tensor:
        scores = scores + self.log_envelope
        highest = scores.detach().amax(dim=-1, keepdim=True).clamp(min=0)
        weights = (scores - highest).exp()
        return weights / (weights.sum(dim=-1, keepdim=True) + (-highest).exp())

    def sum(self, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        heads = weights @ self._by_head(values.transpose(1, 2).flatten(2))  # (B, H, n, X C)
        return self._flat(heads).unflatten(-1, (values.shape[1], -1)).transpose(1, 2)

    def directed(self, weights: torch.Tensor) -> torch.Tensor:
        return weights.unsqueeze(3) * self.units  # (B, H, n, 3, n)

    def along_units(self, directed: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        heads = directed.flatten(2, 3) @ self._by_head(values)  # (B, H, 3n, C)
        return self._flat(heads.unflatten(2, (self.size, 3)).flatten(3)).unflatten(-1, (3, -1)).transpose(1, 2)

    def project(self, directed: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        padded = self._by_head(values.transpose(1, 2).flatten(2)).unflatten(-1, (3, -1))  # (B, H, n, 3, C)
        return self._flat(directed.flatten(3) @ padded.transpose(2, 3).flatten(2, 3))

    def _by_head(self, values: torch.Tensor) -> torch.Tensor:
        """Return values (N, H, F) as (B, H, n, F)."""
        return self.batch.pad(values.flatten(1)).unflatten(-1, values.shape[1:]).transpose(1, 2)

    def _flat(self, values: torch.Tensor) -> torch.Tensor:
        """Return values (B, H, n, F) as (N, H, F)."""
        return self.batch.flatten(values.transpose(1, 2).flatten(2)).unflatten(-1, (values.shape[1], -1))


class SparsePairs:
    """Sparse form: per-pair values are (E, H).

    Parameters
    ----------
    source : (E,) int64, atoms
    target : (E,) int64, atoms of the block
    n_targets : number of atoms of the block
    radial, envelope, units : (E, K), (E,), (E, 3)
    """

    def __init__(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        n_targets: int,
        radial: torch.Tensor,
        envelope: torch.Tensor,
        units: torch.Tensor,
    ) -> None:
        self.source, self.target, self.n_targets = source, target, n_targets
        self.radial, self.units = radial, units
        self.log_envelope = envelope.clamp(min=SMALLEST_ENVELOPE).log().unsqueeze(-1)

    def apply(self, layer: Layer, of_targets: Tensors, of_sources: Tensors) -> Tensors:
        return layer(self, *of_targets, *of_sources)

    def each(self, function: Callable[..., Tensors], *values: torch.Tensor) -> Tensors:
        return function(*values)

    def radial_values(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return torch.nn.functional.linear(self.radial, weight, bias)

    def scores(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        return (queries.index_select(0, self.target) * self._of_sources(keys)).sum(dim=-1)

    def attention(self, scores: torch.Tensor) -> torch.Tensor:
        scores = scores + self.log_envelope
        highest = scores.new_zeros(self.n_targets, scores.shape[1])
        index = self.target.unsqueeze(1).expand_as(scores)
        highest = highest.scatter_reduce(0, index, scores.detach(), "amax")  # at least zero
        weights = (scores - highest.index_select(0, self.target)).exp()
        total = self._gathered(weights) + (-highest).exp()
        return weights / total.index_select(0, self.target)

    def sum(self, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return self._gathered(weights[:, None, :, None] * self._of_sources(values))

    def directed(self, weights: torch.Tensor) -> torch.Tensor:
        return weights.unsqueeze(1) * self.units.unsqueeze(-1)  # (E, 3, H)

    def along_units(self, directed: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return self._gathered(directed.unsqueeze(-1) * self._of_sources(values).unsqueeze(1))

    def project(self, directed: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return self._gathered((directed.unsqueeze(-1) * self._of_sources(values)).sum(dim=1))

    # The gradients of index_select and index_add are several times faster than those of indexing and scatter_add.
    def _of_sources(self, values: torch.Tensor) -> torch.Tensor:
        return values.index_select(0, self.source)

    def _gathered(self, messages: torch.Tensor) -> torch.Tensor:
        return messages.new_zeros(self.n_targets, *messages.shape[1:]).index_add(0, self.target, messages)
