"""What a process asks of its machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# A step of 16 MB, again and again: pages that the system had to give for it, by the second half of the steps.
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


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_freed_memory_is_kept_unless_the_user_says_otherwise():
    pages = 5 * 2**24 // os.sysconf("SC_PAGE_SIZE")
    assert page_faults() < 0.05 * pages
    # NumPy asks for huge pages where it can, which would hide the others.
    assert page_faults(MALLOC_MMAP_THRESHOLD_="65536", NUMPY_MADVISE_HUGEPAGE="0") > 0.9 * pages
