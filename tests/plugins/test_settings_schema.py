"""The JSON schema of elmlff.toml accepts what elmlff accepts, refuses what it refuses, and describes every key."""

from __future__ import annotations

import json
import tomllib

import jsonschema
import pytest

from elmlff_core.errors import ConfigError
from elmlff_core.plugins.registry import registry
from elmlff_core.plugins.settings_schema import settings_schema
from elmlff_core.settings.config import Config
from elmlff_core.settings.reading import validated
from tests.docs.pages import blocks
from tests.docs.test_readme import README


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    schema = settings_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


VALID = {
    "empty": "",
    "several meta-models": '[meta]\nname = "linear,egat"\n[meta.egat]\nwidth = 16',
    "a list of meta-models": '[meta]\nname = ["linear", "egat"]',
    "options of one": '[meta]\nname = "gat"\nreadout = "atom"\nrotate = "auto"',
    "a preset": "[models.nep.options]\nsteps = 50",
    "a preset's name for another adapter": '[models.nep]\nadapter = "ase"\n[models.nep.options]\ncalculator = "a.b:C"',
    "an unknown adapter": '[models.mine]\nadapter = "not-installed-here"\n[models.mine.options]\nanything = 1',
    "a base model": '[models.mine]\nadapter = "painn"\ncheckpoint = "m.pt"\n[models.mine.options]\ncutoff = 6.0',
}
WRONG = {
    "a misspelt key": "sead = 1",
    "a misspelt key of a table": '[data]\ntrian = "a.xyz"',
    "a value out of range": "[data]\ntest_fraction = 1.5",
    "a word for a number": '[training]\nepochs = "many"',
    "an unknown split": '[data]\nsplit = "odd"',
    "a key of a model": "[models.mine]\ncheckpiont = 1",
}
WRONG_OPTIONS = {
    "an option of a preset": "[models.nep.options]\nstep = 50",
    "an option of an adapter": '[models.mine]\nadapter = "painn"\n[models.mine.options]\ncutof = 6.0',
    "an option of a meta-model": '[meta]\nname = "egat"\nwidht = 16',
}


@pytest.mark.parametrize("settings", VALID.values(), ids=VALID)
def test_valid_settings_are_accepted(validator, settings):
    validated(Config, tomllib.loads(settings), "here")
    validator.validate(tomllib.loads(settings))


@pytest.mark.parametrize("settings", WRONG.values(), ids=WRONG)
def test_wrong_settings_are_refused_as_by_elmlff(validator, settings):
    with pytest.raises(ConfigError):
        validated(Config, tomllib.loads(settings), "here")
    assert not validator.is_valid(tomllib.loads(settings))


@pytest.mark.parametrize("settings", WRONG_OPTIONS.values(), ids=WRONG_OPTIONS)
def test_wrong_options_are_refused(validator, settings):
    assert not validator.is_valid(tomllib.loads(settings))


def test_the_readme_is_valid(validator):
    (settings,) = blocks(README, "toml")
    validator.validate(tomllib.loads(settings))


def test_every_key_has_a_description(validator):
    schema = validator.schema
    tables = [schema, schema["definitions"]["DataConfig"], schema["definitions"]["TrainingConfig"]]
    tables += schema["properties"]["models"]["patternProperties"].values()
    for table in tables:
        for key, value in table["properties"].items():
            assert value.get("description") or "$ref" in value, key


def test_options_of_every_plugin_are_in_it(validator):
    text = json.dumps(validator.schema)
    for _, record, _ in registry().records():
        for option in record.options.model_fields:
            assert f'"{option}"' in text
