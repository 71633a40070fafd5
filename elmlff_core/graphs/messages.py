"""Messages by compiled loops: what atoms take up from their neighbours by attention, with first derivatives.

Shapes: H heads with C channels each, F = H C features, E edges, n targets, N sources.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

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
    inputs = _Inputs(edges.first, edges.source, queries, values, vectors, of_distance, log_envelope, units, gain)
    scalars, moved, _ = torch.ops.elmlff.messages(*inputs)
    return scalars, moved


class _Inputs(NamedTuple):
    """Inputs of the operator: edges as in `Edges`, and the others as in `messages`."""

    first: torch.Tensor
    source: torch.Tensor
    queries: torch.Tensor
    values: torch.Tensor
    vectors: torch.Tensor | None
    of_distance: torch.Tensor
    log_envelope: torch.Tensor
    units: torch.Tensor
    gain: float

    @property
    def heads(self) -> int:
        return self.of_distance.shape[0] // 4

    @property
    def loops(self) -> tuple[Callable[..., None], Callable[..., None]]:
        loops = compiled_loops(self.heads, self.queries.shape[1] // self.heads)
        assert loops is not None, "Numba is not installed"
        return loops

    @property
    def flat_vectors(self) -> torch.Tensor:
        """The vectors as (N, 6 F), or (0, 6 F) for None."""
        if self.vectors is None:
            return self.values.new_empty(0, 2 * self.values.shape[1])
        return self.vectors.reshape(len(self.vectors), -1)

    @property
    def numbers(self) -> tuple[Any, Any]:
        """The factor of the scores, and the gain, in the precision of the queries."""
        number = np.float32 if self.queries.dtype == torch.float32 else np.float64
        return number((self.queries.shape[1] // self.heads) ** -0.5), number(self.gain)


def _computed(*given: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return scalars (n, 2 F) and vectors (n, 3, 2 F), and the weights of the sources (E, H)."""
    inputs = _Inputs(*given)
    scalars, moved, weights = _empty_results(*given)
    first, *arrays = _arrays(
        inputs.first, inputs.source, inputs.queries, inputs.values, inputs.flat_vectors, inputs.of_distance,
        inputs.log_envelope, inputs.units,
    )  # fmt: skip
    results = _arrays(weights, scalars, moved.view(len(moved), -1))
    numbers, loops = inputs.numbers, inputs.loops[0]
    each_thread(lambda begin, end: loops(first, *arrays, *numbers, *results, begin, end), first, inputs.heads)
    return scalars, moved, weights


def _empty_results(*given: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    inputs = _Inputs(*given)
    n_targets, width = inputs.queries.shape
    new = inputs.queries.new_empty
    return new(n_targets, 2 * width), new(n_targets, 3, 2 * width), new(inputs.source.shape[0], inputs.heads)


def _derivatives(*given: Any) -> tuple[torch.Tensor, ...]:
    """Return the gradients of queries, values, vectors (0, 6 F without them), `of_distance`, envelope and units.

    Given are the inputs, the weights, and the gradients of scalars and vectors.
    """
    *of_operator, weights, scalars, moved = given
    inputs = _Inputs(*of_operator)
    flat = inputs.flat_vectors
    d_queries, _, _, d_distance, d_envelope, d_units = _empty_derivatives(*given)
    first, *arrays = _arrays(
        inputs.first, inputs.source, inputs.queries, inputs.values, flat, inputs.of_distance, inputs.units
    )
    gradients = _arrays(weights, scalars, moved.reshape(len(moved), -1))
    numbers, loops = inputs.numbers, inputs.loops[1]

    def call(begin: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        # Threads share sources, so each has its own sums.
        d_values, d_vectors = torch.zeros_like(inputs.values), torch.zeros_like(flat)
        results = _arrays(d_queries, d_values, d_vectors, d_distance, d_envelope, d_units)
        loops(first, *arrays, *numbers, *gradients, *results, begin, end)
        return d_values, d_vectors

    (d_values, d_vectors), *others = each_thread(call, first, inputs.heads)
    for more_values, more_vectors in others:
        d_values += more_values
        d_vectors += more_vectors
    of_vectors = d_vectors if inputs.vectors is None else d_vectors.view_as(inputs.vectors)
    return d_queries, d_values, of_vectors, d_distance, d_envelope, d_units


def _empty_derivatives(*given: Any) -> tuple[torch.Tensor, ...]:
    inputs = _Inputs(*given[:-3])
    of_vectors = inputs.flat_vectors if inputs.vectors is None else torch.empty_like(inputs.vectors)
    others = (inputs.of_distance, inputs.log_envelope, inputs.units)
    queries, values = torch.empty_like(inputs.queries), torch.empty_like(inputs.values)
    return queries, values, of_vectors, *(torch.empty_like(one) for one in others)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    *tensors, ctx.gain = inputs
    ctx.save_for_backward(*tensors, output[2])


def _backward(ctx: Any, scalars: torch.Tensor, moved: torch.Tensor, _: torch.Tensor) -> tuple[Any, ...]:
    *inputs, weights = ctx.saved_tensors
    found = torch.ops.elmlff.messages_backward(*inputs, ctx.gain, weights, scalars, moved)
    d_queries, d_values, d_vectors, *others = found
    of_vectors = None if inputs[_Inputs._fields.index("vectors")] is None else d_vectors
    return None, None, d_queries, d_values, of_vectors, *others, None


def _refuse(*_: Any) -> None:
    raise RuntimeError("the compiled messages have first derivatives only: set `twice` of `make_pairs`")


# The loops are operators of PyTorch, so that they can stand in an exported network.
LIBRARY = torch.library.Library("elmlff", "DEF")
_INPUTS = (
    "Tensor first, Tensor source, Tensor queries, Tensor values, Tensor? vectors, Tensor of_distance, "
    "Tensor log_envelope, Tensor units, float gain"
)
LIBRARY.define(f"messages({_INPUTS}) -> (Tensor, Tensor, Tensor)")
LIBRARY.define(
    f"messages_backward({_INPUTS}, Tensor weights, Tensor scalars, Tensor moved) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
LIBRARY.impl("messages", _computed, "CPU")
LIBRARY.impl("messages_backward", _derivatives, "CPU")
torch.library.register_fake("elmlff::messages", _empty_results, lib=LIBRARY)
torch.library.register_fake("elmlff::messages_backward", _empty_derivatives, lib=LIBRARY)
torch.library.register_autograd("elmlff::messages", _backward, setup_context=_keep, lib=LIBRARY)
torch.library.register_autograd("elmlff::messages_backward", _refuse, lib=LIBRARY)


def _arrays(*tensors: torch.Tensor) -> tuple[np.ndarray, ...]:
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)
