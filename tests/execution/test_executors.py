"""Executors: threads of workers, exceptions of serial tasks, and functions of the user."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from elmlff_core import resources
from elmlff_core.errors import ConfigError
from elmlff_core.execution.executors import SerialExecutor, opened
from elmlff_core.execution.placement import Placement
from elmlff_core.resources import threads_for


def test_workers_share_the_cores_unless_the_user_sets_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "n_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [threads_for(n) for n in (1, 3, 8, 20)] == [8, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_for(1) == 3


def test_a_worker_process_has_its_threads_and_ends_with_the_block() -> None:
    with opened(Placement("processes"), 1, 3) as executor:
        assert executor.submit(os.getenv, "OMP_NUM_THREADS").result(60) == "3"
        worker = executor.submit(os.getpid).result(60)
        assert worker != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_an_error_leaves_nothing_of_the_workers() -> None:
    with pytest.raises(ValueError, match="invalid literal"), opened(Placement("processes"), 1, 1) as executor:
        executor.submit(int, "x").result(60)
    assert not [thread.name for thread in threading.enumerate() if "ExecutorManager" in type(thread).__name__]


def _pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_where_one_worker_was_killed_the_others_end_and_no_task_waits_for_them() -> None:
    with opened(Placement("processes"), 2, 1) as executor:
        started = [executor.submit(_pid_after, 1.0) for _ in range(2)]  # both at the same time, in two workers
        killed, other = {future.result(60) for future in started}
        hanging = executor.submit(_pid_after, 60.0)
        os.kill(killed, signal.SIGKILL)
        assert isinstance(hanging.exception(60), BrokenProcessPool)
        deadline = time.monotonic() + 30
        while Path(f"/proc/{other}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(f"/proc/{other}").exists()  # it ignores SIGTERM, and the executor holds its lock until it ends
        with pytest.raises(BrokenProcessPool):
            executor.submit(_pid_after, 0.0)


def test_serial_tasks_fail_in_their_futures_but_interruptions_are_raised() -> None:
    executor = SerialExecutor()
    assert executor.submit(pow, 2, 5).result() == 32
    assert isinstance(executor.submit(int, "x").exception(), ValueError)
    with pytest.raises(KeyboardInterrupt):
        executor.submit(_interrupt)


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_a_function_of_the_current_folder_returns_the_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_pools.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def threads():\n    return ThreadPoolExecutor(1)\n"
        "def number():\n    return 7\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with opened(Placement("my_pools:threads"), 1, 1) as executor:
        assert isinstance(executor, ThreadPoolExecutor)
        assert executor.submit(pow, 2, 3).result() == 8
    with pytest.raises(RuntimeError):  # shut down
        executor.submit(pow, 2, 3)
    with (
        pytest.raises(ConfigError, match="returned int, which has no method 'submit'"),
        opened(Placement("my_pools:number"), 1, 1),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="no executor is called 'process'; did you mean 'processes'"),
        opened(Placement("process"), 1, 1),
    ):
        pass


def test_each_worker_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5a")
    placement = Placement()
    assert placement.n_workers(10) == 2
    with opened(placement, 2, 1) as executor:
        asked = [executor.submit(_device_after, 0.5) for _ in range(2)]
        assert {future.result(60) for future in asked} == {"3", "GPU-5a"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert placement.n_workers(10) == min(10, resources.n_cores())


def _device_after(seconds: float) -> str | None:
    time.sleep(seconds)  # so that each of two workers has a task
    return os.environ.get("CUDA_VISIBLE_DEVICES")
