"""The loop of the page on active learning runs as typed, with a meta-model that is fitted at once."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import pytest

from elmlff_core.data.readers import read_dataset
from tests.docs.pages import blocks, shell

PAGE = Path(__file__).resolve().parents[2] / "docs" / "active-learning.md"
# The fit of the network, and the simulations, take minutes; files and options are those of the page.
SHORTER = (
    ("seq 20", "seq 8"),
    ("--meta egat --set training.epochs=120", "--meta linear"),
    ("--steps 4000 --write-every 20", "--steps 60 --write-every 5"),
    ("-n 50::3", "-n 5::3"),
    ("--steps 2000", "--steps 40"),
)


def test_the_loop_gives_more_labels_in_each_generation(tmp_path: Path) -> None:
    pytest.importorskip("tblite", reason="comes with the extra 'universal'")
    pytest.importorskip("dscribe", reason="comes with the extra 'select'")
    (settings,) = blocks(PAGE, "toml")
    (tmp_path / "elmlff.toml").write_text(settings)
    first, test, generations, again, student = blocks(PAGE, "sh")
    assert "distill" in student  # takes minutes; tests/cli/test_distill.py has it
    assert "--from generation-1" in again  # the same commands as those of the generation before
    printed = ""
    for command in [*first.splitlines(), *test.splitlines(), *generations.splitlines()]:
        for long, short in SHORTER:
            command = command.replace(long, short)
        printed = shell(command, tmp_path)
    assert len(read_dataset(tmp_path / "labelled-0.extxyz")) == 8
    selected = ase.io.read(tmp_path / "select-0" / "selected.extxyz", ":")
    assert 1 <= len(selected) <= 20
    metrics = json.loads((tmp_path / "generation-1" / "metrics.json").read_text())
    assert [one["n_train"] + one["n_valid"] for one in metrics["generations"]] == [8, 8 + len(selected)]
    assert len(metrics["splits"]["test"]) == len(read_dataset(tmp_path / "test.extxyz"))
    assert "generation-0" in printed
