"""The loop of the page on selecting and labelling runs as typed, with a meta-model that is fitted at once."""

from __future__ import annotations

from pathlib import Path

import ase.io
import pytest

from elmlff_core.data.readers import read_dataset
from tests.docs.pages import blocks, run_python, shell

PAGE = Path(__file__).resolve().parents[2] / "docs" / "select-and-label.md"
# The fit of the network, and the simulation, take minutes; files and options are those of the page.
SHORTER = (("--meta egat", "--meta linear"), ("--steps 4000", "--steps 120"))


def test_the_loop_gives_more_labels_in_each_generation(tmp_path: Path) -> None:
    pytest.importorskip("tblite", reason="comes with the extra 'universal'")
    pytest.importorskip("dscribe", reason="comes with the extra 'select'")
    loop = PAGE.read_text().split("## A loop from nothing")[1]
    page = tmp_path / "loop.md"
    page.write_text(loop)
    (settings,) = blocks(page, "toml")
    (tmp_path / "elmlff.toml").write_text(settings)
    run_python(blocks(page, "python")[0], tmp_path)
    for block in blocks(page, "sh"):
        for command in block.splitlines():
            for long, short in SHORTER:
                command = command.replace(long, short)
            if not command.startswith("#"):
                shell(command, tmp_path)
    assert len(read_dataset(tmp_path / "labelled-0.extxyz")) == 20
    selected = ase.io.read(tmp_path / "select-0" / "selected.extxyz", ":")
    assert 1 <= len(selected) <= 20
    assert len(read_dataset(tmp_path / "generation-1.extxyz")) == 20 + len(selected)
    assert (tmp_path / "generation-1" / "stack.json").exists()
