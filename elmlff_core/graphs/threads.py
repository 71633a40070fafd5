"""Threads for loops over edges that Numba compiles and that release the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch

from elmlff_core.graphs.edges import Edges

# Fewer products of one thread are not worth a second thread.
PRODUCTS_OF_A_THREAD = 2**16


def each_thread[Result](call: Callable[[int, int], Result], edges: Edges, heads: int) -> list[Result]:
    """Call ``call(begin, end)`` for targets from `begin` to `end`, in as many threads as PyTorch uses.

    All targets are in one of the calls.  The threads have equal numbers of edges; few edges are left to one thread.
    """
    n_threads = min(torch.get_num_threads(), 1 + heads * len(edges) // PRODUCTS_OF_A_THREAD)
    if n_threads == 1:
        return [call(0, edges.n_targets)]
    ends = np.searchsorted(edges.arrays[0], np.linspace(0, len(edges), n_threads + 1)[1:-1])
    bounds = [0, *ends.tolist(), edges.n_targets]
    return list(_threads(n_threads).map(call, bounds[:-1], bounds[1:]))


@cache
def _threads(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, "elmlff-loops")


os.register_at_fork(after_in_child=_threads.cache_clear)  # the threads of the parent do not run in a forked process
