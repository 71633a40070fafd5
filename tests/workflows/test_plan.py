"""Plans: the order of steps on several workers, what is done, and times by measured rates."""

from __future__ import annotations

from pathlib import Path

import ase.io
import pytest

from elmlff_core.execution.rates import Kind
from elmlff_core.settings.config import Config
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.inputs import read_inputs
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


LJ = {"adapter": "ase", "trust": True, "options": {"calculator": "ase.calculators.lj:LennardJones"}}


@pytest.mark.parametrize(
    ("n_structures", "more", "folds"),
    [
        (30, {}, 3),
        (30, {"folds": 2}, 2),
        (30, {"meta": {"name": "egat"}}, 0),  # nothing is left to choose
        (30, {"base_models": ["lj"], "models": {"lj": LJ}}, 0),  # nothing is to be trained
        (80, {}, 0),
    ],
)
def test_few_structures_and_a_base_model_to_train_give_folds(
    n_structures: int, more: dict[str, object], folds: int, tmp_path: Path
) -> None:
    write_small_data(tmp_path, n_structures)
    retrained = [step for step in steps_of(tmp_path, more) if step.startswith("training nep without")]
    assert retrained == [f"training nep without fold {number} of {folds}" for number in range(1, folds + 1)]


def test_there_are_no_folds_where_one_structure_alone_has_an_element(tmp_path: Path) -> None:
    write_small_data(tmp_path, 30)
    trained_on = read_inputs(nep_config(tmp_path, {})).splits.train_index
    structures = ase.io.read(tmp_path / "few.extxyz", ":")
    structures[trained_on[0]].symbols[0] = "Si"
    ase.io.write(tmp_path / "few.extxyz", structures)
    steps = steps_of(tmp_path, {})
    assert steps[0] == "training nep"
    assert not any("without" in step for step in steps)


def nep_config(folder: Path, more: dict[str, object]) -> Config:
    return read_config(None, {"data": {"train": str(folder / "few.extxyz")}, "base_models": ["nep"], **more})


def steps_of(folder: Path, more: dict[str, object]) -> list[str]:
    return [step.name for step in plan_stack(nep_config(folder, more), folder / "run", folder).steps]
