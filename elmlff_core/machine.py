"""What a process asks of its machine: cores, threads and memory."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from pathlib import Path
from typing import Any

# Of mallopt(3), as in malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
NEVER = 2**31 - 1


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


def set_up_process() -> None:
    """Before long work: as many threads as there are cores, and memory that is kept for the next step.

    Threads are told to torch alone and not to the environment: trainers in processes of their own are fastest with one
    thread, and would take a variable for the user's word, which OMP_NUM_THREADS is.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(n_cores())
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let glibc keep large blocks that are freed, unless the environment says how it should allocate.

    It would give each back to the system and ask for another one, page by page, in the next step: half the time of a
    training step of `egat` with batches of 32 structures.
    """
    if (mallopt := _of_glibc("mallopt")) is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, NEVER)


def give_back_freed_memory() -> None:
    """Give the system what is free now, after work that will not come again; as `keep_freed_memory` in all else."""
    if (malloc_trim := _of_glibc("malloc_trim")) is not None:
        malloc_trim(0)


def _of_glibc(function: str) -> Any:
    """A function of glibc's, or None where that is not to be asked."""
    said = any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if said or sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), function, None)  # other C libraries have none
