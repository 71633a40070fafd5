"""Messages by compiled loops: what atoms take up from their neighbours by attention, with first derivatives.

Shapes: H heads with C channels each, F = H C features, E edges, n targets, N sources.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from elmlff_core.graphs.edges import Edges
from elmlff_core.graphs.message_loops import compiled_loops
from elmlff_core.graphs.threads import each_thread

# Fewer weights (edges times heads) are left to PyTorch: Numba takes most of a second to load, as long as hundreds of
# predictions of a molecule.
COMPILED_WEIGHTS = 2**12


def can_be_compiled(edges: Edges, heads: int, channels: int) -> bool:
    """Return whether `messages` can be called, and is worth it."""
    many = edges.source.device.type == "cpu" and heads * len(edges) >= COMPILED_WEIGHTS
    return many and compiled_loops(heads, channels) is not None


def messages(
    edges: Edges,
    queries: torch.Tensor,
    values: torch.Tensor,
    vectors: torch.Tensor | None,
    of_distance: torch.Tensor,
    log_envelope: torch.Tensor,
    units: torch.Tensor,
    gain: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scalars (n, 2 F) and vectors (n, 3, 2 F), as `elmlff_core.graphs.pairs.Pairs.messages` does.

    Parameters
    ----------
    queries, values, vectors, gain : as there
    of_distance : (4 H, E)
    log_envelope, units : (E,), (3, E)
    """
    inputs = (queries, values, vectors, of_distance, log_envelope, units)
    if torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in inputs):
        found: tuple[torch.Tensor, torch.Tensor] = _Messages.apply(edges, gain, *inputs)
        return found
    return _computed(edges, gain, *inputs)[:2]


def _computed(
    edges: Edges,
    gain: float,
    queries: torch.Tensor,
    values: torch.Tensor,
    vectors: torch.Tensor | None,
    of_distance: torch.Tensor,
    log_envelope: torch.Tensor,
    units: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return scalars and vectors, and the weights of the sources (E, H)."""
    n_targets, width = queries.shape
    heads = len(of_distance) // 4
    loops = _loops(heads, width)[0]
    weights = queries.new_empty(len(edges), heads)
    scalars, moved = queries.new_empty(n_targets, 2 * width), queries.new_empty(n_targets, 3, 2 * width)
    arrays = _arrays(queries, values, _flat(vectors, values), of_distance, log_envelope, units)
    results = _arrays(weights, scalars, moved.view(n_targets, -1))
    numbers = _numbers(queries, heads, gain)
    each_thread(lambda begin, end: loops(*edges.arrays, *arrays, *numbers, *results, begin, end), edges, heads)
    return scalars, moved, weights


class _Messages(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, edges: Edges, gain: float, *inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        scalars, moved, weights = _computed(edges, gain, *inputs)
        queries, values, vectors, of_distance, _, units = inputs
        ctx.save_for_backward(queries, values, vectors, of_distance, units, weights)
        ctx.edges, ctx.gain = edges, gain
        return scalars, moved

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scalars: torch.Tensor, moved: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        queries, values, vectors, of_distance, units, weights = ctx.saved_tensors
        edges = ctx.edges
        heads = len(of_distance) // 4
        loops = _loops(heads, queries.shape[1])[1]
        flat = _flat(vectors, values)
        d_queries, d_distance, d_units = (torch.empty_like(one) for one in (queries, of_distance, units))
        d_envelope = of_distance.new_empty(len(edges))
        arrays = _arrays(queries, values, flat, of_distance, units)
        given = _arrays(weights, scalars, moved.reshape(len(moved), -1))
        numbers = _numbers(queries, heads, ctx.gain)

        def call(begin: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
            # Threads share sources, so each has its own sums.
            d_values, d_vectors = torch.zeros_like(values), torch.zeros_like(flat)
            results = _arrays(d_queries, d_values, d_vectors, d_distance, d_envelope, d_units)
            loops(*edges.arrays, *arrays, *numbers, *given, *results, begin, end)
            return d_values, d_vectors

        (d_values, d_vectors), *others = each_thread(call, edges, heads)
        for more_values, more_vectors in others:
            d_values += more_values
            d_vectors += more_vectors
        of_vectors = None if vectors is None else d_vectors.view_as(vectors)
        return None, None, d_queries, d_values, of_vectors, d_distance, d_envelope, d_units


def _loops(heads: int, width: int) -> tuple[Callable[..., None], Callable[..., None]]:
    loops = compiled_loops(heads, width // heads)
    assert loops is not None, "Numba is not installed"
    return loops


def _flat(vectors: torch.Tensor | None, values: torch.Tensor) -> torch.Tensor:
    """Return vectors (N, 3, 2 F) as (N, 6 F), or (0, 6 F) for None."""
    return values.new_empty(0, 2 * values.shape[1]) if vectors is None else vectors.reshape(len(vectors), -1)


def _numbers(queries: torch.Tensor, heads: int, gain: float) -> tuple[Any, Any]:
    """Return the factor of the scores, and the gain, in the precision of `queries`."""
    number = np.float32 if queries.dtype == torch.float32 else np.float64
    return number((queries.shape[1] // heads) ** -0.5), number(gain)


def _arrays(*tensors: torch.Tensor) -> tuple[np.ndarray, ...]:
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)
