"""The tutorial runs as it stands, and the reference of hooks names every hook, field and check there is."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from elmlff_core.contracts import hookspecs, progress, protocols
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.settings.config import Config
from elmlff_core.testing import check_force_field
from elmlff_core.testing.force_field import CHECKS as FORCE_FIELD_CHECKS
from elmlff_core.testing.force_field import ESSENTIAL
from elmlff_core.testing.meta_model import CHECKS as META_MODEL_CHECKS

DOCS = Path(__file__).resolve().parents[2] / "docs"
RECORDS = [
    hookspecs.ForceFieldPlugin,
    hookspecs.MetaModelPlugin,
    hookspecs.Preset,
    hookspecs.PackageClash,
    hookspecs.LoadRequest,
    hookspecs.InputsRequest,
    protocols.TrainingRequest,
    protocols.FitRequest,
    progress.Progress,
    protocols.TrainingLength,
    Prediction,
    Dataset,
    Features,
]
PROTOCOLS = [
    protocols.BaseForceField,
    protocols.TrainableAdapter,
    protocols.MetaModel,
    protocols.CountsParameters,
    protocols.TakesMasks,
    protocols.LearntUncertainty,
]


def blocks(document: str, language: str) -> list[str]:
    """Fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / document).read_text(), re.MULTILINE | re.DOTALL)


def section(title: str) -> list[str]:
    """First cells of the table under a heading of hooks.md."""
    text = (DOCS / "hooks.md").read_text()
    part = re.search(rf"^### {title}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert part is not None, f"docs/hooks.md has no section {title}"
    return re.findall(r"^\| `(\w+)` \|", part.group(1), re.MULTILINE)


@pytest.fixture(scope="module")
def tutorial() -> dict:
    """What the tutorial's Python leaves behind."""
    namespace: dict = {"__name__": "tutorial"}
    for number, block in enumerate(blocks("write-an-adapter.md", "python")):
        exec(compile(block, f"write-an-adapter.md, block {number}", "exec"), namespace)
    return namespace


def test_the_tutorial_runs_and_its_adapter_keeps_the_contract(tutorial):
    assert tutorial["report"].failed == []
    tutorial["test_it_keeps_the_contract"](check_force_field)


def test_the_settings_of_the_tutorial_are_valid(tutorial):
    _, settings = blocks("write-an-adapter.md", "toml")
    config = Config.model_validate(tomllib.loads(settings))
    tutorial["LennardJonesOptions"].model_validate(config.models["argon"].options)


def test_every_hook_is_documented():
    hooks = {name for name in vars(hookspecs.HookSpecs) if name.startswith("elmlff_")}
    assert set(re.findall(r"^\| `(\w+)\(\)` \|", (DOCS / "hooks.md").read_text(), re.MULTILINE)) == hooks


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_is_documented(record):
    assert section(record.__name__) == [field.name for field in dataclasses.fields(record)]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.__name__)
def test_every_method_is_documented(protocol):
    methods = [name for name in vars(protocol) if not name.startswith("_") and callable(getattr(protocol, name))]
    attributes = list(getattr(protocol, "__annotations__", {}))
    assert section(protocol.__name__) == attributes + methods


def test_options_have_no_fields_to_document():
    assert not hookspecs.Options.model_fields
    assert section("Options") == []


def test_every_check_is_documented():
    text = (DOCS / "hooks.md").read_text()
    checks = text[text.index("## Checks") :]
    named = re.findall(r"^\| `(\w+)` \|", checks, re.MULTILINE)
    assert named == [*ESSENTIAL, *FORCE_FIELD_CHECKS, "fit", *META_MODEL_CHECKS]
