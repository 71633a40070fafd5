"""What a workflow checks and says before its long work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from elmlff_core.contracts.progress import Reporter
from elmlff_core.errors import ConfigError, ForceFieldError
from elmlff_core.settings.config import Config
from elmlff_core.workflows.base_models import announce
from elmlff_core.workflows.inputs import read_inputs
from elmlff_core.workflows.stack.workflow import build_stack
from elmlff_core.workflows.sweep.workflow import sweep
from tests.cli.small_data import write_small_data

EMT = {"calculator": "ase.calculators.emt:EMT"}


class Lines(Reporter):
    """Collects what is said and warned of."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


def config_of(models: dict[str, Any], **others: Any) -> Config:
    values = {"base_models": ["emt"], "meta": {"name": "mean"}, "data": {"train": "few.extxyz"}, **others}
    return Config.model_validate({"models": models, **values})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a few structures of methane."""
    write_small_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_elements_are_checked_also_if_predictions_are_cached(here: Path) -> None:
    build_stack(config_of({"emt": {"adapter": "ase", "options": EMT}}))
    copper_only = {"emt": {"adapter": "ase", "options": EMT | {"elements": ["Cu"]}}}
    with pytest.raises(ForceFieldError, match=r"model 'emt' does not know C, H, .* it knows Cu"):
        build_stack(config_of(copper_only))


def test_a_misspelt_option_of_a_model_that_is_not_stacked_is_refused(here: Path) -> None:
    emt = {"emt": {"adapter": "ase", "options": EMT}}
    read_inputs(config_of(emt | {"nep": {"options": {"neuron": 5}}}))
    with pytest.raises(ConfigError, match=r"unknown key 'neurons' in the options of model 'nep'; did you mean 'neuron"):
        read_inputs(config_of(emt | {"nep": {"options": {"neurons": 5}}}))
    with pytest.raises(ConfigError, match=r"'models.mine.adapter' is missing"):
        read_inputs(config_of(emt | {"mine": {}}))
    # An adapter that is not installed here may be on another machine.
    read_inputs(config_of(emt | {"far": {"adapter": "not-here", "options": {"anything": 1}}}))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 100}, "(quick: 102 steps, 34 epochs; 100 steps, rounded up to whole epochs)"),
        ({"steps": 102}, "(quick: 102 steps, 34 epochs)"),
        ({"epochs": 2}, "(quick: 6 steps, 2 epochs)"),
    ],
)
def test_another_number_of_steps_than_asked_for_is_said(here: Path, options: dict[str, int], said: str) -> None:
    """Of 29 training structures, a batch of 10 at a time, an epoch has three steps."""
    lines = Lines()
    announce(read_inputs(config_of({"sch1": {"options": options}}, base_models=["sch1"])), here / "models", lines)
    assert any(said in line for line in lines.said), lines.said


def test_the_folder_of_a_sweep_has_no_name_of_a_meta_model(here: Path) -> None:
    models = {name: {"adapter": "ase", "options": EMT} for name in ("one", "two")}
    run = sweep(config_of(models, base_models=["one", "two"], meta={"name": "egat"}))
    assert run.folder.name.startswith("sweep-one+two-")
    assert "egat" not in run.folder.name


def test_notes_are_shown_again_with_a_finished_run(here: Path) -> None:
    config = config_of({"emt": {"adapter": "ase", "options": EMT}}, folds=2)
    first, again = Lines(), Lines()
    build_stack(config, reporter=first)
    build_stack(config, reporter=again)
    assert any("is complete" in line for line in again.said)
    assert again.warned == first.warned != []
