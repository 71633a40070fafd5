"""A worker of Dask is killed while base models are trained without folds: the stack has the numbers of one process."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.small_data import elmlff, started, write_small_data
from tests.trained_models import find_plugin

STACK = ("stack", "--models", "tiny", "--meta", "linear", "--folds", "2", "--output", "run")
MODEL = """
[models.tiny]
adapter = "schnet"
options = { steps = 100, n_atom_basis = 8, n_interactions = 1, batch_size = 8, cutoff = 4.0, device = "cpu" }
"""


def prepared(folder: Path) -> Path:
    """Return `folder` with data, and the settings of a SchNet, which the worker trains within its own process."""
    folder.mkdir()
    write_small_data(folder)
    with (folder / "elmlff.toml").open("a") as file:
        file.write(MODEL)
    return folder


def errors(folder: Path) -> Any:
    """Return all errors of the stack and its base model, without times."""
    rows = json.loads((folder / "run" / "metrics.json").read_text())["errors"]
    return {row["name"]: row["errors"] for row in rows}


def worker(folder: Path) -> int:
    """Return the process that began the training on all structures last."""
    status = json.loads((folder / "run" / "tasks" / "training-tiny.status").read_text())
    return int(status["where"].rpartition(":")[2])


def test_the_task_of_a_killed_worker_goes_on_in_another_one(tmp_path: Path) -> None:
    find_plugin("schnet")
    pytest.importorskip("distributed", reason="comes with the extra 'dask'")
    killed, whole = prepared(tmp_path / "killed"), prepared(tmp_path / "whole")
    elmlff(whole, *STACK, "--workers", "1")

    def is_training(_: object) -> bool:
        return any((killed / "elmlff-models").glob("tiny-*/last.ckpt"))

    command = started(killed, *STACK, "--executor", "dask", "--workers", "1", ready=is_training)
    first = worker(killed)
    assert first != command.pid
    os.kill(first, signal.SIGKILL)
    ended = command.ending(300)
    assert ended.code == 0, ended.stdout + ended.stderr
    assert worker(killed) != first
    assert errors(killed) == errors(whole)
