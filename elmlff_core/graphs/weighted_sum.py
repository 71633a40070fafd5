"""Sums over edges of a weight times the value at the source, computed in blocks without storing a message per edge."""

from __future__ import annotations

from typing import Any

import torch

BLOCK_NUMBERS = 2**22  # numbers in one block of messages: 16 MB, about the size of a cache


class WeightedSum(torch.autograd.Function):
    """For each head, ``out[n] = sum of weights[e] * values[source[e]] over edges e with target[e] = n``."""

    @staticmethod
    def forward(
        ctx: Any, weights: torch.Tensor, values: torch.Tensor, source: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(weights, values, source, target)
        out = torch.zeros_like(values)
        for part in _blocks(len(source), values):
            out.index_add_(0, target[part], weights[part].unsqueeze(-1) * values[source[part]])
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        weights, values, source, target = ctx.saved_tensors
        grad_weights, grad_values = torch.empty_like(weights), torch.zeros_like(values)
        for part in _blocks(len(source), values):
            at_target = grad[target[part]]
            grad_weights[part] = (at_target * values[source[part]]).sum(dim=-1)
            grad_values.index_add_(0, source[part], weights[part].unsqueeze(-1) * at_target)
        return grad_weights, grad_values, None, None


def weighted_sum(
    weights: torch.Tensor, values: torch.Tensor, source: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    """Return the sums at each target: (N, H, C).  First derivatives are available, second ones are not.

    Parameters
    ----------
    weights : (E, H)
    values : (N, H, C), values of the atoms, of which edges take those of their source
    source, target : (E,) int64
    """
    result: torch.Tensor = WeightedSum.apply(weights, values, source, target)
    return result


def _blocks(n_edges: int, values: torch.Tensor) -> list[slice]:
    size = max(1, BLOCK_NUMBERS // max(1, values[0].numel()))
    return [slice(start, start + size) for start in range(0, n_edges, size)]
