"""The process of a trainer: the error shows its log, and it always ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from elmlff_core.errors import ForceFieldError
from elmlff_core.plugins.training_process import run_trainer

REPOSITORY = Path(__file__).parents[2]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_output_and_polls(tmp_path: Path) -> None:
    polls: list[int] = []
    run_trainer(["-c", "print('hello')"], tmp_path, "m", "dp", lambda: polls.append(1))
    assert "hello" in (tmp_path / "training.log").read_text()
    assert polls


def test_the_end_of_the_log_is_in_the_error(tmp_path: Path) -> None:
    code = "print('first'); [print('line', i) for i in range(40)]; raise RuntimeError('no such descriptor')"
    with pytest.raises(ForceFieldError, match=r"model 'm' \(adapter 'dp'\) failed with exit code 1") as caught:
        run_trainer(["-c", code], tmp_path, "m", "dp", lambda: None)
    assert "no such descriptor" in str(caught.value)
    assert "line 39" in str(caught.value)
    assert "first" not in str(caught.value)


def test_a_trainer_that_fails_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4096))
    with pytest.raises(ForceFieldError, match=r"the disk of .* has only 4 kB left: make space, and run the same"):
        run_trainer(["-c", "raise RuntimeError"], tmp_path, "m", "dp", lambda: None)


def test_the_default_is_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DP_INTRA_OP_PARALLELISM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    code = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['DP_INTRA_OP_PARALLELISM_THREADS'])"
    run_trainer(["-c", code], tmp_path, "m", "dp", lambda: None)
    assert (tmp_path / "training.log").read_text().splitlines()[-1] == "3 1"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_interrupt_ends_the_child_and_its_children(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys, time; "
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "open('pids', 'w').write(f'{os.getpid()} {p.pid} .'); time.sleep(60)"
    )
    pids = tmp_path / "pids"

    def poll() -> None:
        if pids.exists() and pids.read_text().endswith("."):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trainer(["-c", code], tmp_path, "m", "dp", poll)
    for pid in pids.read_text().split()[:2]:
        assert wait_for(lambda pid=pid: not is_alive(int(pid)))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can kill a child when its parent ends")
def test_the_child_is_killed_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = "import os, time; open('pid', 'w').write(f'{os.getpid()} .'); time.sleep(60)"
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from pathlib import Path; from elmlff_core.plugins.training_process import run_trainer; "
            f"run_trainer(['-c', {code!r}], Path({str(tmp_path)!r}), 'm', 'dp', lambda: None)",
        ],
        cwd=REPOSITORY,
    )
    pid = tmp_path / "pid"
    assert wait_for(lambda: pid.exists() and pid.read_text().endswith("."))
    child = int(pid.read_text().split()[0])
    assert is_alive(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert wait_for(lambda: not is_alive(child))
