"""Cores, threads and memory of the running process, and what a child process needs to work for it.

Workers under other interpreters import this file, so it keeps to Python 3.9.
"""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from pathlib import Path

# The environment variables that torch and numpy read.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# With these variables of this process, another interpreter would use the wrong standard library or, if this is a
# notebook, a backend of matplotlib that it does not have.
FOREIGN_TO_OTHERS = ("PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "MPLBACKEND")
# Parameters of mallopt(3), as defined in malloc.h, and their values; see `keep_freed_memory`.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BLOCK, KEPT_MEMORY = 2**25, 2**28  # bytes
# The same for a program that is started.
KEEPING_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(KEPT_BLOCK), "MALLOC_TRIM_THRESHOLD_": str(KEPT_MEMORY)}


def n_cores() -> int:
    """Return the number of cores that this process may use: those it is bound to, or the limit of a container."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        share = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no container, or no limit ("max")
        return bound
    return max(1, min(bound, share))


def gpus() -> list[str]:
    """Return the CUDA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; CUDA is not started."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


def threads_for(n_processes: int) -> int:
    """Return the number of threads for each of several processes that share the cores.

    OMP_NUM_THREADS takes precedence where the user has set it.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(given) if given.isdecimal() and int(given) > 0 else max(1, n_cores() // n_processes)


def set_up_process() -> None:
    """Prepare the process for long computations of its own: one thread per core, and freed memory kept for later.

    The number of threads is set in torch and not in the environment.  Trainers in separate processes inherit the
    environment, they are fastest with one thread, and they treat OMP_NUM_THREADS as the user's choice.
    """
    if "OMP_NUM_THREADS" not in os.environ:  # a worker may never need torch, which takes seconds to load
        import torch

        torch.set_num_threads(n_cores())
    keep_freed_memory()


def start_as_child(n_threads: int) -> None:
    """Prepare a process that works for the one that has spawned it: its threads, signals, and its end with the other.

    It ends when its parent does, even if that is killed; otherwise it would go on, and hold the files of a run.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = str(n_threads)
    # Ctrl-C and the SIGTERM of a queue reach all processes; the parent ends its children.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to 32 MB, unless environment variables configure its allocator.

    By default glibc returns such blocks to the system and gets them back page by page in the next step, which takes a
    quarter of the time of a training step of `egat` with batches of 32 structures.  Larger blocks are still returned:
    if they were kept, the next large block would not fit into the holes they leave, and a step would take twice the
    memory.
    """
    is_set = any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    mallopt = None if is_set or sys.platform != "linux" else getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries do not have mallopt
        mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK)
        mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY)
