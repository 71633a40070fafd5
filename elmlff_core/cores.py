"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path


def n_cores() -> int:
    """Cores that this process may use: those it is bound to, or fewer where a container limits its share."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        share = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no container, or no limit ("max")
        return bound
    return max(1, min(bound, share))


def threads_for(n_processes: int) -> int:
    """Threads for each of several processes, so that all of them have no more than there are cores.

    What the user said in OMP_NUM_THREADS is kept.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(given) if given.isdecimal() and int(given) > 0 else max(1, n_cores() // n_processes)


def use_all_cores() -> None:
    """Let torch use as many threads as there are cores, not more, unless the user said how many.

    Said to torch alone and not to the environment: trainers in processes of their own are fastest with one thread, and
    would take a variable for the user's word.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(n_cores())
