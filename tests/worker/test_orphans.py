"""Workers and their children end with elmlff, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.worker.conftest import is_alive, spring, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, threading
from elmlff_core.settings.config import ModelConfig
from elmlff_core.base_models.named import named_model
from tests.worker.conftest import spring

calculator, arguments, marks, in_thread = {calculator!r}, {arguments!r}, {marks!r}, {in_thread!r}
options = {{"calculator": f"tests.worker.calculators:{{calculator}}", "arguments": arguments}}
model = named_model("base model", ModelConfig(adapter="ase", python="self", options=options))
if in_thread:  # the thread ends before the worker is used
    thread = threading.Thread(target=lambda: model.force_field)
    thread.start()
    thread.join()
print(model.force_field._process.pid, flush=True)
model.force_field.predict(spring(3, **marks))
print("predicted", flush=True)
sys.stdin.read()
"""


@contextmanager
def started(calculator, arguments=None, marks=None, in_thread=False):
    """Start a process that predicts with a worker and then waits until its input is closed."""
    program = PROGRAM.format(calculator=calculator, arguments=arguments or {}, marks=marks or {}, in_thread=in_thread)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def descendants(pid):
    """Return `pid` and all its direct and indirect child processes."""
    found = {pid}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found |= descendants(int(child))
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("calculator", "arguments", "marks"),
    [("Hanging", {"child": True}, {}), ("Hanging", {"child": True}, {"fatal": 1}), ("Stuck", {}, {"fatal": 1})],
    ids=["idle", "in a request", "in native code"],
)
def test_workers_end_when_elmlff_is_killed(number, calculator, arguments, marks):
    with started(calculator, arguments, marks) as program:
        pid = int(program.stdout.readline())
        if marks:
            # The request is in progress after this time.
            assert not wait_until(lambda: program.poll() is not None, 0.5)
        else:
            assert program.stdout.readline() == "predicted\n"
        family = descendants(pid)
        assert len(family) == 1 + bool(arguments)
        os.kill(program.pid, number)
        program.wait(20)
        assert wait_until(lambda: not any(map(is_alive, family)), 5.0)


def test_workers_end_when_elmlff_exits():
    with started("Hanging", {"child": True}) as program:
        family = descendants(int(program.stdout.readline()))
        assert program.stdout.readline() == "predicted\n"
        program.stdin.close()
        assert program.wait(20) == 0
        assert wait_until(lambda: not any(map(is_alive, family)), 5.0)


def test_a_worker_runs_on_after_the_thread_that_started_it():
    with started("Spring", in_thread=True) as program:
        program.stdout.readline()
        assert program.stdout.readline() == "predicted\n"
        program.stdin.close()
        assert program.wait(20) == 0


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="daemons of a worker are found in /proc")
def test_a_daemon_of_a_worker_ends_with_it(worker, tmp_path):
    model = worker("StartsDaemon", file=str(tmp_path / "pid"))
    model.force_field.predict(spring(1))
    daemon = int((tmp_path / "pid").read_text())
    assert is_alive(daemon)
    model.close()
    assert wait_until(lambda: not is_alive(daemon))
