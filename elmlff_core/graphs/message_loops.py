"""Loops over edges that compute messages from neighbours and their derivatives, compiled by Numba when first called.

One pass over the edges of a target takes its scores, their softmax and all sums, so that no value of an edge goes
through the memory more than once.  What they compute is what `elmlff_core.graphs.messages` composes of operations of
PyTorch.

Loops over all features have no branches, so that the compiler makes them loops over vectors; weights of heads are
first repeated for the channels of their head, and products of channels first written and then summed over each head.

Shapes: E edges, H heads with C channels each, F = H C.  Features are head by head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

Loops = Callable[..., None]


@cache
def compiled_loops(heads: int, channels: int) -> tuple[Loops, Loops] | None:
    """Return the loops for the messages, and for their derivatives; None where Numba is not installed.

    The compiler unrolls loops over heads and channels, so there are loops for each number of them.
    """
    try:
        import numba
    except ImportError:
        return None
    width = heads * channels

    def messages(
        first: Any, source: Any, queries: Any, values: Any, vectors: Any, of_distance: Any, log_envelope: Any,
        units: Any, scale: Any, gain: Any, weights: Any, scalars_out: Any, vectors_out: Any, begin: int, end: int,
    ) -> None:  # fmt: skip
        """Write softmax weights (E, H), scalars (n, 2 F) and vectors (n, 6 F) of the targets from `begin` to `end`.

        Queries are (n, F), values (n, 3 F): keys, what is passed, and what points; vectors (n, 6 F): for each component
        what is carried, and what is projected; or (0, 6 F).
        """
        number = queries.dtype.type
        with_vectors = len(vectors) > 0
        product, repeated = np.empty(width, queries.dtype), np.empty(width, queries.dtype)
        highest, total = np.empty(heads, queries.dtype), np.empty(heads, queries.dtype)
        sums = np.empty(8 * width, queries.dtype)  # seen, along, and for each component moved, pointing
        for target in range(begin, end):
            query = queries[target]
            for head in range(heads):
                highest[head] = number(0)
            for edge in range(first[target], first[target + 1]):
                value = values[source[edge]]
                for k in range(width):
                    product[k] = query[k] * value[k]
                for head in range(heads):
                    score = number(0)
                    for k in range(head * channels, head * channels + channels):
                        score += product[k]
                    score = scale * score + of_distance[head, edge] + log_envelope[edge]
                    weights[edge, head] = score
                    highest[head] = max(highest[head], score)
            for head in range(heads):
                total[head] = math.exp(-highest[head])
            for edge in range(first[target], first[target + 1]):
                for head in range(heads):
                    exponential = math.exp(weights[edge, head] - highest[head])
                    weights[edge, head] = exponential
                    total[head] += exponential
            for head in range(heads):
                total[head] = gain / total[head]
            sums[:] = number(0)
            for edge in range(first[target], first[target + 1]):
                value = values[source[edge]]
                x, y, z = units[0, edge], units[1, edge], units[2, edge]
                for head in range(heads):
                    weights[edge, head] *= total[head]
                    weight = weights[edge, head] * of_distance[heads + head, edge]
                    for k in range(head * channels, head * channels + channels):
                        repeated[k] = weight
                for k in range(width):
                    sums[k] += repeated[k] * value[width + k]
                for head in range(heads):
                    weight = weights[edge, head] * of_distance[3 * heads + head, edge]
                    for k in range(head * channels, head * channels + channels):
                        repeated[k] = weight
                for k in range(width):
                    pointed = repeated[k] * value[2 * width + k]
                    sums[3 * width + k] += x * pointed
                    sums[5 * width + k] += y * pointed
                    sums[7 * width + k] += z * pointed
                if with_vectors:
                    vector = vectors[source[edge]]
                    for k in range(width):
                        sums[width + k] += repeated[k] * (
                            x * vector[width + k] + y * vector[3 * width + k] + z * vector[5 * width + k]
                        )
                    for head in range(heads):
                        weight = weights[edge, head] * of_distance[2 * heads + head, edge]
                        for k in range(head * channels, head * channels + channels):
                            repeated[k] = weight
                    for k in range(width):
                        sums[2 * width + k] += repeated[k] * vector[k]
                        sums[4 * width + k] += repeated[k] * vector[2 * width + k]
                        sums[6 * width + k] += repeated[k] * vector[4 * width + k]
            scalars_out[target, :] = sums[: 2 * width]
            vectors_out[target, :] = sums[2 * width :]

    def derivatives(
        first: Any, source: Any, queries: Any, values: Any, vectors: Any, of_distance: Any, units: Any, scale: Any,
        gain: Any, weights: Any, scalars: Any, moved: Any, d_queries: Any, d_values: Any, d_vectors: Any,
        d_distance: Any, d_envelope: Any, d_units: Any, begin: int, end: int,
    ) -> None:  # fmt: skip
        """Write the gradients of all inputs of `messages` from those of its scalars (n, 2 F) and vectors (n, 6 F).

        Gradients of values and vectors are added to what is in their arrays.
        """
        number = queries.dtype.type
        with_vectors = len(vectors) > 0
        products, repeated = np.empty((5, width), queries.dtype), np.empty((4, width), queries.dtype)
        found = np.empty(5, queries.dtype)
        mean, query_sum = np.empty(heads, queries.dtype), np.empty(width, queries.dtype)
        for target in range(begin, end):
            query, scalar, vector = queries[target], scalars[target], moved[target]
            mean[:] = number(0)
            query_sum[:] = number(0)
            for edge in range(first[target], first[target + 1]):
                value = values[source[edge]]
                of_seen, of_moved, of_x, of_y, of_z = products[0], products[1], products[2], products[3], products[4]
                for k in range(width):
                    of_seen[k] = scalar[k] * value[width + k]
                    pointed = value[2 * width + k]
                    of_x[k] = vector[width + k] * pointed
                    of_y[k] = vector[3 * width + k] * pointed
                    of_z[k] = vector[5 * width + k] * pointed
                if with_vectors:
                    row = vectors[source[edge]]
                    for k in range(width):
                        of_moved[k] = vector[k] * row[k] + vector[2 * width + k] * row[2 * width + k] + (
                            vector[4 * width + k] * row[4 * width + k]
                        )  # fmt: skip
                        along = scalar[width + k]
                        of_x[k] += along * row[width + k]
                        of_y[k] += along * row[3 * width + k]
                        of_z[k] += along * row[5 * width + k]
                else:
                    of_moved[:] = number(0)
                x, y, z = units[0, edge], units[1, edge], units[2, edge]
                d_x, d_y, d_z = number(0), number(0), number(0)
                for head in range(heads):
                    for part in range(5):
                        total = number(0)
                        for k in range(head * channels, head * channels + channels):
                            total += products[part, k]
                        found[part] = total
                    weight = weights[edge, head]
                    along = x * found[2] + y * found[3] + z * found[4]
                    for_scalars, for_vectors = of_distance[heads + head, edge], of_distance[2 * heads + head, edge]
                    for_directions = of_distance[3 * heads + head, edge]
                    d_x += weight * for_directions * found[2]
                    d_y += weight * for_directions * found[3]
                    d_z += weight * for_directions * found[4]
                    d_distance[heads + head, edge] = weight * found[0]
                    d_distance[2 * heads + head, edge] = weight * found[1]
                    d_distance[3 * heads + head, edge] = weight * along
                    of_weight = for_scalars * found[0] + for_vectors * found[1] + for_directions * along
                    d_distance[head, edge] = of_weight
                    mean[head] += weight * of_weight
                d_units[0, edge], d_units[1, edge], d_units[2, edge] = d_x, d_y, d_z
            for edge in range(first[target], first[target + 1]):
                x, y, z = units[0, edge], units[1, edge], units[2, edge]
                of_score, to_seen, to_moved, to_pointing = repeated[0], repeated[1], repeated[2], repeated[3]
                of_all = number(0)
                for head in range(heads):
                    weight = weights[edge, head]
                    score = weight * (d_distance[head, edge] - mean[head] / gain)
                    d_distance[head, edge] = score
                    of_all += score
                    for k in range(head * channels, head * channels + channels):
                        of_score[k] = scale * score
                    seen = weight * of_distance[heads + head, edge]
                    for k in range(head * channels, head * channels + channels):
                        to_seen[k] = seen
                    carried = weight * of_distance[2 * heads + head, edge]
                    for k in range(head * channels, head * channels + channels):
                        to_moved[k] = carried
                    pointed = weight * of_distance[3 * heads + head, edge]
                    for k in range(head * channels, head * channels + channels):
                        to_pointing[k] = pointed
                d_envelope[edge] = of_all
                value, d_value = values[source[edge]], d_values[source[edge]]
                for k in range(width):
                    query_sum[k] += of_score[k] * value[k]
                for k in range(width):
                    d_value[k] += of_score[k] * query[k]
                    d_value[width + k] += to_seen[k] * scalar[k]
                    d_value[2 * width + k] += to_pointing[k] * (
                        x * vector[width + k] + y * vector[3 * width + k] + z * vector[5 * width + k]
                    )
                if with_vectors:
                    d_vector = d_vectors[source[edge]]
                    for k in range(width):
                        along = to_pointing[k] * scalar[width + k]
                        d_vector[k] += to_moved[k] * vector[k]
                        d_vector[width + k] += x * along
                        d_vector[2 * width + k] += to_moved[k] * vector[2 * width + k]
                        d_vector[3 * width + k] += y * along
                        d_vector[4 * width + k] += to_moved[k] * vector[4 * width + k]
                        d_vector[5 * width + k] += z * along
            d_queries[target, :] = query_sum

    compiled = numba.njit(nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy", cache=True)
    return compiled(messages), compiled(derivatives)
