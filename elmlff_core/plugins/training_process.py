"""A backend's own trainer as a child process: logged, watched, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from elmlff_core.errors import ForceFieldError

LOG_NAME = "training.log"
TAIL_LINES = 15
POLL_SECONDS = 0.2
GRACE_SECONDS = 5.0

# More threads than cores cost a factor of ten on small systems, and one is fastest there; what the user set wins.
SINGLE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "DP_INTRA_OP_PARALLELISM_THREADS": "1",
    "DP_INTER_OP_PARALLELISM_THREADS": "1",
}

# Run by the child before it becomes the trainer: the kernel then kills it when this process dies, even by SIGKILL.
# Only Linux can do that (prctl 1 is PR_SET_PDEATHSIG); a `preexec_fn` would not be safe in a process with threads.
_BIND_TO_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


def run_trainer(arguments: Sequence[str], directory: Path, model: str, adapter: str, poll: Callable[[], None]) -> None:
    """Run ``python *arguments`` in `directory` until it ends.

    Its output goes to ``training.log`` there.  When this process is interrupted or killed, so is the child with
    everything it started.

    Parameters
    ----------
    arguments : for this Python interpreter
    directory : working directory of the child
    model, adapter : names, for messages
    poll : called a few times a second, to report progress

    Raises
    ------
    ForceFieldError
        When the child fails, with the last lines of its log.
    """
    log = directory / LOG_NAME
    command = [sys.executable, "-I", "-c", _BIND_TO_PARENT, str(os.getpid()), sys.executable, *arguments]
    environment = SINGLE_THREAD | dict(os.environ) | {"PYTHONUNBUFFERED": "1"}
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
        raise ForceFieldError(
            f"training of model '{model}' (adapter '{adapter}') failed with exit code {child.returncode}; "
            f"the end of {log}:\n{tail(log)}"
        )


def tail(log: Path, n_lines: int = TAIL_LINES) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-n_lines:])


def _terminate(child: subprocess.Popen[bytes]) -> None:
    """End the child's whole session: politely, then not."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        os.killpg(child.pid, sign)
        try:
            child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
