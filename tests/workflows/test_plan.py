"""Plans: the order of steps on several workers, what is done, and times by measured rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from elmlff_core.execution.rates import Kind
from elmlff_core.settings.config import Config
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.plan import Plan, Step
from elmlff_core.workflows.stack.workflow import build_stack, plan_stack
from tests.cli.small_data import write_small_data


def test_steps_are_given_out_as_soon_as_they_can_begin() -> None:
    steps = [
        Step("a", seconds=4.0),
        Step("b", seconds=2.0),
        Step("c", seconds=3.0, after=("b",)),
        Step("before", done=True, seconds=100.0),
        Step("d", seconds=1.0, after=("a", "c", "before")),
        Step("e"),
    ]
    plan = Plan(steps, 2)
    assert plan.seconds(1) == 10.0
    assert plan.seconds(2) == 6.0  # b and c beside a, then d
    assert plan.seconds(20) == 6.0
    assert plan.unknown == ["e"]


def settings(folder: Path, **more: object) -> Config:
    return read_config(folder / "elmlff.toml", {"base_models": ["lj", "emt"], "meta": {"name": "gat"}} | more)


def test_a_plan_computes_nothing_and_knows_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_small_data(tmp_path)
    monkeypatch.setenv("ELMLFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    names = ["predicting with lj", "predicting with emt", "fitting gat"]

    before = plan_stack(settings(tmp_path), tmp_path / "run")
    assert [step.name for step in before.steps] == names
    assert [step.done for step in before.steps] == [False] * 3
    assert before.unknown == names
    assert not (tmp_path / "run").exists()

    build_stack(settings(tmp_path), tmp_path / "run")
    assert plan_stack(settings(tmp_path), tmp_path / "run").left == []

    longer = plan_stack(settings(tmp_path, seeds=2), tmp_path / "another")
    assert [step.name for step in longer.left] == ["fitting gat", "fitting gat-seed1"]
    assert longer.unknown == []
    assert longer.left[0].seconds == longer.left[1].seconds > 0
    assert longer.seconds(1) == pytest.approx(2 * longer.seconds(2))
    assert longer.left[0].memory > 10**8


def test_a_rate_of_other_options_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMLFF_CACHE", str(tmp_path))
    narrow, wide = (Kind("fitting", "egat", {"width": width}) for width in (8, 64))
    assert wide.rate() is None
    narrow.note(6.0, 3.0)
    assert wide.rate()["seconds"] == 2.0
    wide.note(10.0, 1.0)
    assert wide.rate()["seconds"] == 10.0
    assert narrow.rate()["seconds"] == 2.0
    assert Kind("training", "egat", {}).rate() is None
