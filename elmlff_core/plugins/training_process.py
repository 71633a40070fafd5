"""Run the trainer of a backend as a child process, with a log and progress, and always end it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from elmlff_core.errors import ForceFieldError
from elmlff_core.resources import KEEPING_FREED_MEMORY

LOG_NAME = "training.log"
TAIL_LINES = 15
POLL_SECONDS = 0.2
GRACE_SECONDS = 5.0
LITTLE_SPACE = 2**20  # bytes; a trainer that fails with less has met a full disk

# Small systems train fastest with one thread; more threads than cores are ten times slower.  Variables that the user
# has set take precedence.
SINGLE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "DP_INTRA_OP_PARALLELISM_THREADS": "1",
    "DP_INTER_OP_PARALLELISM_THREADS": "1",
}

# The child runs this before the trainer, so that the kernel kills it when this process ends, even after SIGKILL.
# Only Linux supports this (prctl 1 is PR_SET_PDEATHSIG); `preexec_fn` would not be safe in a process with threads.
_BIND_TO_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent process has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""


def run_trainer(arguments: Sequence[str], directory: Path, model: str, adapter: str, poll: Callable[[], None]) -> None:
    """Run ``python *arguments`` in `directory` until it ends.

    The output is appended to ``training.log`` in that folder.  When this process is interrupted, the child and all
    processes that it started are ended; when this process is killed, the kernel kills the child.

    Parameters
    ----------
    arguments : arguments for the Python interpreter
    directory : working directory of the child
    model, adapter : names, for messages
    poll : called a few times per second, to report progress

    Raises
    ------
    ForceFieldError
        The child failed; the message ends with the last lines of its log.
    """
    log = directory / LOG_NAME
    command = [sys.executable, "-I", "-c", _BIND_TO_PARENT, str(os.getpid()), sys.executable, *arguments]
    # Two trainings at once that give their memory back in each step take an eighth more time.
    environment = SINGLE_THREAD | KEEPING_FREED_MEMORY | dict(os.environ) | {"PYTHONUNBUFFERED": "1"}
    with log.open("ab") as output:
        output.write(f"$ python {' '.join(arguments)}\n".encode())
        output.flush()
        child = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while child.poll() is None:
            poll()
            time.sleep(POLL_SECONDS)
        poll()
    finally:
        _terminate(child)
    if child.returncode != 0:
        if (free := shutil.disk_usage(directory).free) < LITTLE_SPACE:
            raise ForceFieldError(
                f"training of model '{model}' (adapter '{adapter}') failed, and the disk of {directory} has only "
                f"{free // 1024} kB left: make space, and run the same command again to resume"
            )
        raise ForceFieldError(
            f"training of model '{model}' (adapter '{adapter}') failed with exit code {child.returncode}; "
            f"the end of {log}:\n{tail(log)}"
        )


def tail(log: Path, n_lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-n_lines:])


def _terminate(child: subprocess.Popen[bytes]) -> None:
    """End all processes of the child's session: first by SIGTERM, then by SIGKILL."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        os.killpg(child.pid, sign)
        try:
            child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
