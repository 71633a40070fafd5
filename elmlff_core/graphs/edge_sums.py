"""The two operations of attention over neighbours: weighted sums over the edges, and scalar products along them.

Each is the derivative of the other, so derivatives of any order follow from these two.  Weighted sums are
`torch.nn.functional.embedding_bag`, which stores no message for an edge.  PyTorch has no such operation for scalar
products; they are compiled by Numba on the CPU, and gathered and multiplied elsewhere.

Shapes: H heads with C channels each, E edges.  Heads come first: values of edges are (H, E), of atoms (H, n, C).
"""

from __future__ import annotations

from typing import Any

import torch

from elmlff_core.graphs.edges import Edges
from elmlff_core.graphs.products import products_of_rows


class _WeightedSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: torch.Tensor, values: torch.Tensor, edges: Edges) -> torch.Tensor:
        ctx.save_for_backward(weights, values)
        ctx.edges = edges
        heads, _, channels = values.shape
        rows, offsets = edges.bags(heads)
        sums = torch.nn.functional.embedding_bag(
            rows, values.reshape(-1, channels), offsets, mode="sum", per_sample_weights=weights.flatten(),
            include_last_offset=True,
        )  # fmt: skip
        return sums.view(heads, edges.n_targets, channels)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        weights, values = ctx.saved_tensors
        of_weights, of_values, _ = ctx.needs_input_grad
        return (
            products(gradient, values, ctx.edges) if of_weights else None,
            _transposed_sums(weights, gradient, ctx.edges) if of_values else None,
            None,
        )


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, of_targets: torch.Tensor, of_sources: torch.Tensor, edges: Edges) -> torch.Tensor:
        ctx.save_for_backward(of_targets, of_sources)
        ctx.edges = edges
        return products_of_rows(of_targets, of_sources, edges)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        of_targets, of_sources = ctx.saved_tensors
        for_targets, for_sources, _ = ctx.needs_input_grad
        return (
            weighted_sums(gradient, of_sources, ctx.edges) if for_targets else None,
            _transposed_sums(gradient, of_targets, ctx.edges) if for_sources else None,
            None,
        )


def weighted_sums(weights: torch.Tensor, values: torch.Tensor, edges: Edges) -> torch.Tensor:
    """Return for each target the sum of the weights (H, E) times the values (H, n_sources, C): (H, n_targets, C)."""
    sums: torch.Tensor = _WeightedSums.apply(weights, values, edges)
    return sums


def products(of_targets: torch.Tensor, of_sources: torch.Tensor, edges: Edges) -> torch.Tensor:
    """Return for each edge the product of (H, n_targets, C) and (H, n_sources, C), summed over channels: (H, E)."""
    found: torch.Tensor = _Products.apply(of_targets, of_sources, edges)
    return found


def _transposed_sums(weights: torch.Tensor, values: torch.Tensor, edges: Edges) -> torch.Tensor:
    """Return for each source the sum of the weights (H, E) times the values (H, n_targets, C): (H, n_sources, C)."""
    return weighted_sums(weights.index_select(1, edges.order), values, edges.transposed)
