"""Threads for loops over edges that Numba compiles and that release the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch

# Fewer products of one thread are not worth a second thread.
PRODUCTS_OF_A_THREAD = 2**16


def each_thread[Result](call: Callable[[int, int], Result], first: np.ndarray, heads: int) -> list[Result]:
    """Call ``call(begin, end)`` for targets from `begin` to `end`, in as many threads as PyTorch uses.

    All targets are in one of the calls.  The threads have equal numbers of edges; few edges are left to one thread.

    Parameters
    ----------
    first : (n_targets + 1,), the first edge of each target, and the number of edges
    heads : the work of an edge, in products
    """
    n_targets, n_edges = len(first) - 1, int(first[-1])
    n_threads = min(torch.get_num_threads(), 1 + heads * n_edges // PRODUCTS_OF_A_THREAD)
    if n_threads == 1:
        return [call(0, n_targets)]
    ends = np.searchsorted(first, np.linspace(0, n_edges, n_threads + 1)[1:-1])
    bounds = [0, *ends.tolist(), n_targets]
    return list(_threads(n_threads).map(call, bounds[:-1], bounds[1:]))


@cache
def _threads(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, "elmlff-loops")


os.register_at_fork(after_in_child=_threads.cache_clear)  # the threads of the parent do not run in a forked process
