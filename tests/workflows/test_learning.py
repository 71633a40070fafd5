"""The learning curve of a stack, where a part of the training structures lacks an element."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import pytest

from elmlff_core.evaluation.learning_curve import parts_of
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.inputs import read_inputs
from elmlff_core.workflows.stack.workflow import build_stack
from tests.cli.small_data import write_small_data

META = {"name": "egat", "width": 8, "layers": 1, "heads": 2}


@pytest.mark.parametrize(("rare", "sizes"), [((), [4, 8, 16, 29]), (("Si", "Ge"), [29])])
def test_parts_without_an_element_are_left_out(
    rare: tuple[str, ...], sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two elements are in one structure each, of the first and of the last part: no half has both."""
    write_small_data(tmp_path)
    monkeypatch.setenv("ELMLFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    config = read_config(Path("elmlff.toml"), {"base_models": ["lj"], "meta": META})
    trained_on = read_inputs(config).splits.train_index
    parts, structures = parts_of(len(trained_on)), ase.io.read("few.extxyz", ":")
    for symbol, part in zip(rare, (parts[0], parts[-1]), strict=False):
        structures[trained_on[part[0]]].symbols[0] = symbol
    ase.io.write("few.extxyz", structures)
    build_stack(config, Path("run"), learning_curve=True)
    curve = json.loads(Path("run/metrics.json").read_text())["learning_curves"][-1]
    assert curve["name"] == "stack (egat)"
    assert [point["n_structures"] for point in curve["points"]] == sizes
