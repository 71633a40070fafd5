"""Cores, threads and memory of the running process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Allocates 16 MB in each of ten steps, and prints the page faults of the last five steps.
PROGRAM = """
import resource
import numpy as np
from elmlff_core.resources import keep_freed_memory
keep_freed_memory()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def steps():
    before = faults()
    for _ in range(5):
        np.ones(2**21)
    return faults() - before
steps()
print(steps())
"""


def page_faults(**variables: str) -> int:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | variables
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    return int(result.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_freed_memory_is_kept_unless_the_user_configures_the_allocator():
    pages = 5 * 2**24 // os.sysconf("SC_PAGE_SIZE")
    assert page_faults() < 0.05 * pages
    # By default NumPy uses huge pages, which would reduce the number of page faults.
    assert page_faults(MALLOC_MMAP_THRESHOLD_="65536", NUMPY_MADVISE_HUGEPAGE="0") > 0.9 * pages
