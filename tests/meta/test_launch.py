"""Trainings shared by processes that torchrun, or srun of SLURM, has started: the numbers of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from elmlff_core.execution.launch import Launch, first_host
from tests.cli.small_data import elmlff, environment, write_small_data
from tests.commands.running import REPOSITORY, Ending, start_elmlff

# The last batch of 29 structures has one, so that one of two processes has none.
STACK = ("stack", "--models", "lj,emt", "--meta", "gat", "--geometry-only", "--set", "training.batch_size=14")
TWO = ("--set", "training.devices=2")
TORCHRUN = {
    "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "node1",
    "MASTER_PORT": "29500", "TORCHELASTIC_USE_AGENT_STORE": "True", "OMP_NUM_THREADS": "3",
}  # fmt: skip
SRUN = {
    "SLURM_JOB_ID": "123456", "SLURM_STEP_ID": "2", "SLURM_STEP_NUM_TASKS": "8", "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "gpu[007-008,12],big1",
    "SLURM_CPUS_PER_TASK": "6",
}  # fmt: skip


def test_the_environment_tells_of_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert Launch.of(TORCHRUN) == Launch(5, 8, 1, 3, "node1", 29500, True)
    assert Launch.of(SRUN) == Launch(5, 8, 1, 6, "gpu007", 18458, False)
    assert Launch.of(SRUN | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "9"}) == Launch(5, 8, 1, 6, "10.0.0.1", 9, False)


def test_a_process_that_was_started_alone_is_no_launch() -> None:
    assert Launch.of({}) is None
    assert Launch.of(TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1"}) is None
    # A job script that runs elmlff without srun, in a job of several tasks; and a shell by `srun --pty`.
    assert Launch.of({"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_JOB_ID": "1"}) is None
    assert Launch.of(SRUN | {"SLURM_STEP_NUM_TASKS": "1"}) is None


@pytest.mark.parametrize(
    ("hosts", "first"), [("n1", "n1"), ("n[1,3],m2", "n1"), ("a-[08-11]-ib", "a-08-ib"), ("b,c[1-2]", "b")]
)
def test_the_first_host_of_a_list(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


@pytest.fixture
def one_process(tmp_path: Path) -> Path:
    write_small_data(tmp_path)
    elmlff(tmp_path, *STACK, "--output", "one", "--workers", "1")
    return tmp_path


def assert_same_numbers(folder: Path) -> None:
    one, two = (json.loads((folder / name / "metrics.json").read_text())["errors"] for name in ("one", "two"))
    assert [row["name"] for row in one] == [row["name"] for row in two]
    for row, expected in zip(two, one, strict=True):
        for split, errors in expected["errors"].items():
            assert row["errors"][split] == pytest.approx(errors, rel=1e-6)
    curves = (
        np.loadtxt(folder / name / "fit/gat/learning_curve.csv", delimiter=",", skiprows=2) for name in ("one", "two")
    )
    assert np.allclose(*(curve[:, :4] for curve in curves), rtol=1e-6, atol=0)
    assert not list(folder.rglob("graphs.pt"))


def test_torchrun(one_process: Path) -> None:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    done = subprocess.run(
        [*launcher, "-m", "elmlff_core", *STACK, *TWO, "--output", "two"],
        cwd=one_process, env=environment(one_process, PYTHONPATH=str(REPOSITORY)), capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("stack: two") == 1  # one of them has run the command
    assert_same_numbers(one_process)


def srun(folder: Path, *arguments: str) -> list[Ending]:
    """Run a command as two processes with the variables of srun."""
    port = str(20_000 + os.getpid() % 10_000)
    variables = SRUN | {"SLURM_STEP_NUM_TASKS": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    commands = [
        start_elmlff(
            arguments, folder, ELMLFF_CACHE=str(folder / "cache"),
            **variables | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
        )
        for rank in (1, 0)
    ]  # fmt: skip
    try:
        return [command.ending(300) for command in reversed(commands)]
    finally:
        for command in commands:
            command.end()


def test_srun(one_process: Path) -> None:
    first, other = srun(one_process, *STACK, *TWO, "--output", "two")
    assert (first.code, other.code) == (0, 0), first.stdout + first.stderr + other.stdout + other.stderr
    assert not other.stdout
    assert_same_numbers(one_process)
    # An error of the command ends all of them.
    first, other = srun(one_process, *STACK, "--output", "three")
    assert (first.code, other.code) == (1, 0)
    assert "'training.devices' is 1, but 2 processes were started for this command" in first.stderr
