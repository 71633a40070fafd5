"""What a process asks of its machine: cores, threads and memory."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from pathlib import Path

# Of mallopt(3), as in malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


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
    """Let glibc keep freed blocks of up to 32 MB, unless the environment says how it should allocate.

    It would give them back to the system, and get them again page by page in the next step: a quarter of the time of a
    training step of `egat` with batches of 32 structures.  Larger blocks do go back: kept, they leave holes that the
    next large one does not fit in, and a step takes twice the memory.
    """
    said = any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    mallopt = None if said or sys.platform != "linux" else getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have none
        mallopt(M_MMAP_THRESHOLD, 2**25)
        mallopt(M_TRIM_THRESHOLD, 2**28)
