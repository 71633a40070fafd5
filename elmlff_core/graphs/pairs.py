"""Pairs: sums over the neighbours of each atom, dense on small structures and sparse on large ones.

A network uses these operations and does not depend on their form.  On small structures they are batched matrix products
over padded N x N weights, which on a CPU is several times faster than scattering over edges.  On large structures, or
if a pair is joined through several periodic images, they scatter over edges, with memory linear in the number of edges.
Predictions of large structures go through blocks of atoms, so that only the edges of one block are in memory at a time.

Shapes: N atoms and E edges in total, B structures of at most n atoms, H heads of C channels each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from elmlff_core.arrays import blocks
from elmlff_core.graphs.batch import GraphBatch

# Above this many atoms the N² weights cost more than scattering over edges (2 cores).
DENSE_LIMIT = 256
# Edges of one block.  At 64 features a layer keeps about 4 kB for an edge, so a block takes about 17 MB.
BLOCK_EDGES = 2**12
# Below this distance directions are undefined; the limit keeps gradients finite if two atoms coincide.
SMALLEST_DISTANCE = 1e-6  # Å
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


class RadialBasis(torch.nn.Module):
    """Spherical Bessel functions of the distance times a polynomial envelope (Gasteiger et al., 2020).

    The envelope and its first three derivatives vanish at the cutoff.
    """

    def __init__(self, n_functions: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("frequencies", torch.pi * torch.arange(1, n_functions + 1))
        self.frequencies: torch.Tensor

    def forward(self, distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the radial functions (E, K) and the envelope (E,) at distances (E,) in Å."""
        x = (distances / self.cutoff).unsqueeze(-1)
        envelope = (1 - x**2).clamp(min=0) ** 4  # (E, 1)
        return torch.sin(self.frequencies * x) / x * envelope, envelope.squeeze(-1)


Tensors = tuple[torch.Tensor, ...]
Layer = Callable[..., Tensors]
Rows = slice | torch.Tensor  # rows of a tensor: all from one to another, or those at int64 indices


class PairsOfBatch(Protocol):
    """The pairs of a whole batch, which a layer meets all at once or block by block."""

    def apply(self, layer: Layer, of_targets: Tensors, of_sources: Tensors) -> Tensors:
        """Call ``layer(pairs, *of_targets, *of_sources)`` for all targets; return its results, a row for each atom.

        Both are values of all atoms, (N, ...); if the layer meets a block, it gets only the rows of its targets of the
        former.
        """
        ...

    def each(self, function: Callable[..., Tensors], *values: torch.Tensor) -> Tensors:
        """Call ``function(*values)``, which maps rows of atoms to rows of the same atoms, for all atoms."""
        ...


def make_pairs(
    batch: GraphBatch, basis: RadialBasis, dense: bool | None = None, in_blocks: bool = False
) -> PairsOfBatch:
    """Return the pairs of `batch`.

    Parameters
    ----------
    batch : graphs with vectors
    basis : radial functions of the distance
    dense : whether the form is dense; None chooses by size
    in_blocks : whether a large sparse form may go through blocks; gradients then compute each block once more
    """
    assert batch.vectors is not None, "make the graphs with images"
    if dense is None:
        dense = batch.max_atoms <= DENSE_LIMIT and not batch.multiple
    if dense:
        return DensePairs(batch, *_radial_and_units(batch.vectors, basis))
    if in_blocks and len(batch.vectors) > BLOCK_EDGES:
        return BlockedPairs(batch, basis)
    source, target = batch.edges
    return SparsePairs(source, target, len(batch.atomic_numbers), *_radial_and_units(batch.vectors, basis))


def _radial_and_units(vectors: torch.Tensor, basis: RadialBasis) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return radial functions (E, K), envelope (E,) and unit vectors (E, 3) of edge vectors (E, 3)."""
    distances = vectors.norm(dim=-1).clamp(min=SMALLEST_DISTANCE)
    return *basis(distances), vectors / distances.unsqueeze(-1)


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


class BlockedPairs:
    """Sparse form in blocks of targets, for structures whose per-pair values would fill the memory."""

    def __init__(self, batch: GraphBatch, basis: RadialBasis) -> None:
        assert batch.vectors is not None
        self.basis = basis
        source, target = batch.edges
        order = torch.argsort(target, stable=True)
        source, target, self.vectors = source[order], target[order], batch.vectors[order]
        n_edges = torch.bincount(target, minlength=len(batch.atomic_numbers)).cpu().numpy()  # of each target
        self.blocks = list(blocks(n_edges, BLOCK_EDGES))
        # The atoms that are sources in a block, and the sources of its edges as indices of these atoms.
        self.sources = [source[edges].unique(return_inverse=True) for _, edges in self.blocks]
        self.targets = [target[edges] - targets.start for targets, edges in self.blocks]

    def apply(self, layer: Layer, of_targets: Tensors, of_sources: Tensors) -> Tensors:
        def call(block: int, vectors: torch.Tensor, *values: torch.Tensor) -> Tensors:
            rows, _ = self.blocks[block]
            radial = _radial_and_units(vectors, self.basis)
            pairs = SparsePairs(self.sources[block][1], self.targets[block], rows.stop - rows.start, *radial)
            return layer(pairs, *values)

        picked: list[list[Rows]] = [
            [edges, *[targets] * len(of_targets), *[sources] * len(of_sources)]
            for (targets, edges), (sources, _) in zip(self.blocks, self.sources, strict=True)
        ]
        return self._joined(call, picked, self.vectors, *of_targets, *of_sources)

    def each(self, function: Callable[..., Tensors], *values: torch.Tensor) -> Tensors:
        picked: list[list[Rows]] = [[targets] * len(values) for targets, _ in self.blocks]
        return self._joined(lambda _, *rows: function(*rows), picked, *values)

    def _joined(self, call: Callable[..., Tensors], picked: list[list[Rows]], *values: torch.Tensor) -> Tensors:
        found: Tensors = _InBlocks.apply(call, [targets for targets, _ in self.blocks], picked, *values)
        return found


class _InBlocks(torch.autograd.Function):
    """A function of tensors that is called block by block, and computed again for the gradients of its inputs.

    Only the inputs are kept.  The parameters of the function get no gradients: predictions need none.  The checkpoints
    of torch would give them, but they load its compiler, which takes 150 MB and two seconds.
    """

    @staticmethod
    def forward(
        ctx: Any, call: Callable[..., Tensors], rows: list[slice], picked: list[list[Rows]], *values: torch.Tensor
    ) -> Tensors:
        """Call ``call(block, *values[picked])`` for each block, and join the results, which are `rows` of the whole."""
        ctx.call, ctx.rows, ctx.picked = call, rows, picked
        ctx.save_for_backward(*values)
        parts = [call(block, *_parts(values, picks)) for block, picks in enumerate(picked)]
        return tuple(torch.cat(found) for found in zip(*parts, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        totals = [torch.zeros_like(value) for value in ctx.saved_tensors]
        for block, (rows, picks) in enumerate(zip(ctx.rows, ctx.picked, strict=True)):
            parts = [part.detach().requires_grad_() for part in _parts(ctx.saved_tensors, picks)]
            with torch.enable_grad():
                found = ctx.call(block, *parts)
            given = [gradient[rows] for gradient in gradients]
            computed = torch.autograd.grad(found, parts, given, allow_unused=True)
            for total, pick, part in zip(totals, picks, computed, strict=True):
                if part is None:
                    continue
                if isinstance(pick, slice):  # no other block has these rows
                    total[pick] = part
                else:
                    total.index_add_(0, pick, part)
        return None, None, None, *totals


def _parts(values: Sequence[torch.Tensor], picks: list[Rows]) -> list[torch.Tensor]:
    return [
        value[pick] if isinstance(pick, slice) else value.index_select(0, pick)
        for value, pick in zip(values, picks, strict=True)
    ]
