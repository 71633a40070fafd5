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
    n_edges = edges.source.shape[0]
    # A network that is being exported has a symbol for the number of edges: it is to be fast for all numbers.
    many = isinstance(n_edges, torch.SymInt) or heads * n_edges >= COMPILED_WEIGHTS
    return many and edges.source.device.type == "cpu" and compiled_loops(heads, channels) is not None


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
    scalars, moved, _ = torch.ops.elmlff.messages(
        edges.first, edges.source, queries, values, vectors, of_distance, log_envelope, units, gain
    )
    return scalars, moved


# The loops are operators of PyTorch, so that they can stand in an exported network.
LIBRARY = torch.library.Library("elmlff", "DEF")
LIBRARY.define(
    "messages(Tensor first, Tensor source, Tensor queries, Tensor values, Tensor? vectors, Tensor of_distance, "
    "Tensor log_envelope, Tensor units, float gain) -> (Tensor, Tensor, Tensor)"
)
LIBRARY.define(
    "messages_backward(Tensor first, Tensor source, Tensor queries, Tensor values, Tensor? vectors, "
    "Tensor of_distance, Tensor units, Tensor weights, Tensor scalars, Tensor moved, float gain) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)


def _computed(
    first: torch.Tensor,
    source: torch.Tensor,
    queries: torch.Tensor,
    values: torch.Tensor,
    vectors: torch.Tensor | None,
    of_distance: torch.Tensor,
    log_envelope: torch.Tensor,
    units: torch.Tensor,
    gain: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return scalars and vectors, and the weights of the sources (E, H)."""
    scalars, moved, weights = _empty_results(
        first, source, queries, values, vectors, of_distance, log_envelope, units, gain
    )
    heads = weights.shape[1]
    loops = _loops(heads, queries.shape[1])[0]
    arrays = _arrays(first, source, queries, values, _flat(vectors, values), of_distance, log_envelope, units)
    results = _arrays(weights, scalars, moved.view(len(moved), -1))
    numbers = _numbers(queries, heads, gain)
    each_thread(lambda begin, end: loops(*arrays, *numbers, *results, begin, end), arrays[0], heads)
    return scalars, moved, weights


def _empty_results(
    first: torch.Tensor,
    source: torch.Tensor,
    queries: torch.Tensor,
    values: torch.Tensor,
    vectors: torch.Tensor | None,
    of_distance: torch.Tensor,
    *_: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    n_targets, width = queries.shape
    weights = queries.new_empty(source.shape[0], of_distance.shape[0] // 4)
    return queries.new_empty(n_targets, 2 * width), queries.new_empty(n_targets, 3, 2 * width), weights


def _derivatives(
    first: torch.Tensor,
    source: torch.Tensor,
    queries: torch.Tensor,
    values: torch.Tensor,
    vectors: torch.Tensor | None,
    of_distance: torch.Tensor,
    units: torch.Tensor,
    weights: torch.Tensor,
    scalars: torch.Tensor,
    moved: torch.Tensor,
    gain: float,
) -> tuple[torch.Tensor, ...]:
    """Return the gradients of queries, values, vectors (0, 6 F without them), `of_distance`, envelope and units."""
    heads = weights.shape[1]
    loops = _loops(heads, queries.shape[1])[1]
    flat = _flat(vectors, values)
    d_queries, d_distance, d_units = (torch.empty_like(one) for one in (queries, of_distance, units))
    d_envelope = of_distance.new_empty(len(source))
    arrays = _arrays(first, source, queries, values, flat, of_distance, units)
    given = _arrays(weights, scalars, moved.reshape(len(moved), -1))
    numbers = _numbers(queries, heads, gain)

    def call(begin: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        # Threads share sources, so each has its own sums.
        d_values, d_vectors = torch.zeros_like(values), torch.zeros_like(flat)
        results = _arrays(d_queries, d_values, d_vectors, d_distance, d_envelope, d_units)
        loops(*arrays, *numbers, *given, *results, begin, end)
        return d_values, d_vectors

    (d_values, d_vectors), *others = each_thread(call, arrays[0], heads)
    for more_values, more_vectors in others:
        d_values += more_values
        d_vectors += more_vectors
    of_vectors = d_vectors if vectors is None else d_vectors.view_as(vectors)
    return d_queries, d_values, of_vectors, d_distance, d_envelope, d_units


def _empty_derivatives(
    first: torch.Tensor,
    source: torch.Tensor,
    queries: torch.Tensor,
    values: torch.Tensor,
    vectors: torch.Tensor | None,
    of_distance: torch.Tensor,
    units: torch.Tensor,
    *_: Any,
) -> tuple[torch.Tensor, ...]:
    of_vectors = values.new_empty(0, 2 * values.shape[1]) if vectors is None else torch.empty_like(vectors)
    others = (torch.empty_like(one) for one in (of_distance, of_distance[0], units))
    return torch.empty_like(queries), torch.empty_like(values), of_vectors, *others


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    first, source, queries, values, vectors, of_distance, _, units, gain = inputs
    ctx.save_for_backward(first, source, queries, values, vectors, of_distance, units, output[2])
    ctx.gain = gain


def _backward(ctx: Any, scalars: torch.Tensor, moved: torch.Tensor, _: torch.Tensor) -> tuple[Any, ...]:
    saved = ctx.saved_tensors
    d_queries, d_values, d_vectors, d_distance, d_envelope, d_units = torch.ops.elmlff.messages_backward(
        *saved, scalars, moved, ctx.gain
    )
    d_vectors = None if saved[4] is None else d_vectors
    return None, None, d_queries, d_values, d_vectors, d_distance, d_envelope, d_units, None


def _refuse(*_: Any) -> None:
    raise RuntimeError("the compiled messages have first derivatives only: set `twice` of `make_pairs`")


LIBRARY.impl("messages", _computed, "CPU")
LIBRARY.impl("messages_backward", _derivatives, "CPU")
torch.library.register_fake("elmlff::messages", _empty_results, lib=LIBRARY)
torch.library.register_fake("elmlff::messages_backward", _empty_derivatives, lib=LIBRARY)
torch.library.register_autograd("elmlff::messages", _backward, setup_context=_keep, lib=LIBRARY)
torch.library.register_autograd("elmlff::messages_backward", _refuse, lib=LIBRARY)


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
