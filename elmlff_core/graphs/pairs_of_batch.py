"""The pairs of a whole batch, at once or in blocks of atoms.

Predictions of large structures go through blocks of atoms, so that only the edges of one block are in memory at a time.

Shapes: N atoms and E edges in total.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from elmlff_core.arrays import blocks
from elmlff_core.graphs.batch import GraphBatch
from elmlff_core.graphs.edges import Edges
from elmlff_core.graphs.pairs import Pairs
from elmlff_core.graphs.radial import RadialBasis, radial_and_units

Tensors = tuple[torch.Tensor, ...]
Layer = Callable[..., Tensors]
Rows = slice | torch.Tensor  # rows of a tensor: all from one to another, or those at int64 indices
# Edges of one block.  A layer keeps about 0.5 kB for an edge, so a block takes about 32 MB.
BLOCK_EDGES = 2**16


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


def make_pairs(batch: GraphBatch, basis: RadialBasis, in_blocks: bool = False, twice: bool = True) -> PairsOfBatch:
    """Return the pairs of `batch`.

    Parameters
    ----------
    batch : graphs with vectors
    basis : radial functions of the distance
    in_blocks : whether a large batch may go through blocks; gradients then compute each block once more
    twice : whether results may be differentiated twice, which takes more time
    """
    assert batch.vectors is not None, "make the graphs with images"
    if in_blocks and batch.vectors.shape[0] > BLOCK_EDGES:  # not len(), which would fix it in an exported network
        return BlockedPairs(batch, basis, twice)
    return WholePairs(batch, basis, twice)


class WholePairs:
    """All pairs at once."""

    def __init__(self, batch: GraphBatch, basis: RadialBasis, twice: bool = True) -> None:
        assert batch.vectors is not None
        n_atoms = batch.atomic_numbers.shape[0]
        source, target = batch.edges
        edges = Edges(source, target, n_atoms, n_atoms)
        self.pairs = Pairs(edges, *radial_and_units(batch.vectors, basis), twice)

    def apply(self, layer: Layer, of_targets: Tensors, of_sources: Tensors) -> Tensors:
        return layer(self.pairs, *of_targets, *of_sources)

    def each(self, function: Callable[..., Tensors], *values: torch.Tensor) -> Tensors:
        return function(*values)


class BlockedPairs:
    """Pairs in blocks of targets, for structures whose values of pairs would fill the memory."""

    def __init__(self, batch: GraphBatch, basis: RadialBasis, twice: bool = True) -> None:
        assert batch.vectors is not None
        self.basis, self.twice = basis, twice
        self.vectors = batch.vectors
        source, target = batch.edges
        n_edges = torch.bincount(target, minlength=len(batch.atomic_numbers)).cpu().numpy()  # of each target
        self.blocks = list(blocks(n_edges, BLOCK_EDGES))
        # The atoms that are sources in a block, and the sources of its edges as indices of these atoms.
        self.sources = [source[edges].unique(return_inverse=True) for _, edges in self.blocks]
        self.edges = [
            Edges(within, target[edges] - targets.start, targets.stop - targets.start, len(sources))
            for (targets, edges), (sources, within) in zip(self.blocks, self.sources, strict=True)
        ]

    def apply(self, layer: Layer, of_targets: Tensors, of_sources: Tensors) -> Tensors:
        def call(block: int, vectors: torch.Tensor, *values: torch.Tensor) -> Tensors:
            return layer(Pairs(self.edges[block], *radial_and_units(vectors, self.basis), self.twice), *values)

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
            # A result that is detached from the inputs has no gradient, if the parameters have none either.
            linked = [(one, given[rows]) for one, given in zip(found, gradients, strict=True) if one.requires_grad]
            results, given = zip(*linked, strict=True)
            computed = torch.autograd.grad(results, parts, given, allow_unused=True)
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
