"""`elmlff stack --learning-curve` on few structures: it adds fits to a finished run and repeats none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.small_data import elmlff, n_lines, write_small_data


def test_the_flag_adds_the_curve_of_the_stack_to_a_finished_run(tmp_path: Path) -> None:
    write_small_data(tmp_path)
    command = ("stack", "--meta", "gat", "--output", "run")
    elmlff(tmp_path, *command)
    run = tmp_path / "run"
    before = json.loads((run / "metrics.json").read_text())
    assert [curve["name"] for curve in before["learning_curves"]] == ["linear combination"]
    fitted = (run / "fit" / "gat" / "fitted.json").stat().st_mtime_ns

    elmlff(tmp_path, *command, "--learning-curve")
    after = json.loads((run / "metrics.json").read_text())
    assert (run / "fit" / "gat" / "fitted.json").stat().st_mtime_ns == fitted
    assert after["errors"] == before["errors"]
    linear, stack = after["learning_curves"]
    assert [linear] == before["learning_curves"]
    chosen = next(model for model in after["errors"] if model["chosen"])
    assert stack["name"] == "stack (gat)"
    assert [point["n_structures"] for point in stack["points"]] == [4, 8, 16, 29]  # of 29, the first parts have four
    for split in ("valid", "test"):
        assert stack["points"][-1][split] == pytest.approx(chosen["errors"][split]["rmse_per_frame"])
    # Three epochs on all structures: twice, four and eight times as many on the parts, after a line for epoch 0.
    for denominator in (2, 4, 8):
        lines = n_lines(run / "fit" / f"gat-part{denominator}" / "learning_curve.csv")
        assert lines == n_lines(run / "fit" / "gat" / "learning_curve.csv") + 3 * (denominator - 1)
    assert "stack (gat), test" in (run / "figures" / "learning_curve.svg").read_text()

    assert "is complete" in elmlff(tmp_path, *command, "--learning-curve").stdout
