"""Scalar products of a row of the target and a row of the source, for each edge.

PyTorch would gather both rows for each edge and multiply them: on a CPU two to three times slower than the loops here,
which Numba compiles when they are first called, and keeps on disk.  Where Numba is not installed, and on a GPU,
PyTorch gathers.

Shapes: H heads with C channels each, E edges.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from elmlff_core.graphs.edges import Edges
from elmlff_core.graphs.threads import each_thread

# Edges whose rows are gathered at once: with 24 channels of 8 heads they fit into the cache of a core.
GATHERED_EDGES = 2**11
# Fewer products than this are gathered: Numba takes most of a second to load, for a molecule that gathers as fast.
COMPILED_PRODUCTS = 2**13

Kernel = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, int, int], None]


def products_of_rows(of_targets: torch.Tensor, of_sources: torch.Tensor, edges: Edges) -> torch.Tensor:
    """Return the products of (H, n_targets, C) and (H, n_sources, C), summed over channels: (H, E)."""
    heads, _, channels = of_targets.shape
    many = of_targets.device.type == "cpu" and heads * len(edges) >= COMPILED_PRODUCTS
    kernel = _compiled(channels) if many else None
    if kernel is None:
        return _gathered(of_targets, of_sources, edges)
    found = of_targets.new_empty(heads, len(edges))
    arrays = (
        *edges.arrays, of_targets.detach().contiguous().numpy(), of_sources.detach().contiguous().numpy(),
        found.numpy(),
    )  # fmt: skip
    each_thread(lambda begin, end: kernel(*arrays, begin, end), edges.arrays[0], heads)
    return found


def _gathered(of_targets: torch.Tensor, of_sources: torch.Tensor, edges: Edges) -> torch.Tensor:
    heads, _, channels = of_targets.shape
    left = of_targets.transpose(0, 1).reshape(-1, heads * channels)
    right = of_sources.transpose(0, 1).reshape(-1, heads * channels)
    found = left.new_empty(len(edges), heads)
    for source, target, part in zip(
        edges.source.split(GATHERED_EDGES), edges.target.split(GATHERED_EDGES), found.split(GATHERED_EDGES), strict=True
    ):
        rows = right.index_select(0, source) * left.index_select(0, target)
        part.copy_((rows.view(-1, channels) @ rows.new_ones(channels)).view(-1, heads))
    return found.T.contiguous()


@cache
def _compiled(channels: int) -> Kernel | None:
    """Return the loops for this number of channels, which the compiler unrolls; None where Numba is not installed."""
    try:
        import numba
    except ImportError:
        return None

    def kernel(
        first: Any, source: Any, of_targets: Any, of_sources: Any, found: Any, from_target: int, to_target: int
    ) -> None:
        for head in range(of_targets.shape[0]):
            for target in range(from_target, to_target):
                for edge in range(first[target], first[target + 1]):
                    total = of_targets.dtype.type(0)
                    for channel in range(channels):
                        total += of_targets[head, target, channel] * of_sources[head, source[edge], channel]
                    found[head, edge] = total

    compiled: Kernel = numba.njit(kernel, nogil=True, fastmath={"contract", "reassoc"}, cache=True)
    return compiled
