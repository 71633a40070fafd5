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
