"""What a base model is, is remembered: a worker loads it when something is to be predicted, and then compares."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from elmlff_core.arrays import cache_folder
from elmlff_core.base_models.listing import list_models
from elmlff_core.base_models.prediction import predict_checked
from elmlff_core.files import read_record, write_record
from elmlff_core.settings.config import Config, ModelConfig
from elmlff_core.worker.errors import WorkerError
from elmlff_core.worker.identity import Identity

EMT = "ase.calculators.emt:EMT"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("ELMLFF_CACHE", str(tmp_path / "cache"))


def remembered():
    return sorted((cache_folder() / "models").glob("*.json"))


def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    return [atoms]


def test_the_second_worker_loads_the_model_before_its_first_prediction(worker):
    first, second, here = worker(EMT), worker(EMT), worker(EMT, python=None)
    assert first.force_field._is_open
    assert len(remembered()) == 1
    assert not second.force_field._is_open
    for name in ("fingerprint", "elements", "cutoff"):
        assert getattr(second.force_field, name) == getattr(here.force_field, name)
    np.testing.assert_array_equal(predict_checked(second, copper()).forces, predict_checked(here, copper()).forces)
    assert second.force_field._is_open


def test_other_options_are_another_model(worker):
    plain = worker(EMT).force_field
    other = worker(EMT, asap_cutoff=True).force_field
    assert other._is_open
    assert other.fingerprint != plain.fingerprint
    assert len(remembered()) == 2


def test_a_model_that_runs_code_of_the_user_is_loaded_each_time(worker):
    """Its file may change without any version."""
    assert worker("Spring").force_field._is_open
    assert worker("Spring").force_field._is_open
    assert remembered() == []


def test_a_wrong_memory_is_an_error_once(worker):
    known = worker(EMT).force_field.fingerprint
    (file,) = remembered()
    write_record(file, {**read_record(file, Identity), "fingerprint": "0" * 64})
    model = worker(EMT)
    assert model.fingerprint == "0" * 64
    with pytest.raises(WorkerError, match=r"is another force field than before .*run again"):
        predict_checked(model, copper())
    assert worker(EMT).fingerprint == known


@pytest.mark.parametrize("damage", ["", "{}", '{"fingerprint": 1}'])
def test_a_damaged_memory_is_made_anew(worker, damage):
    known = worker(EMT).force_field.fingerprint
    (file,) = remembered()
    file.write_text(damage)
    assert worker(EMT).force_field.fingerprint == known
    assert read_record(file, Identity)["fingerprint"] == known


def test_a_listing_loads_the_model_although_it_is_remembered(worker, tmp_path):
    """`elmlff env check` must find out whether it still can be loaded, and is what it was."""
    assert worker(EMT).force_field.elements is None
    (file,) = remembered()
    write_record(file, {**read_record(file, Identity), "fingerprint": "0" * 64})
    config = Config(models={"tested": ModelConfig(adapter="ase", python="self", options={"calculator": EMT})})
    (entry,) = list_models(config, tmp_path, load=True, only="tested")
    assert "is another force field than before" in entry.problem
    (entry,) = list_models(config, tmp_path, load=True, only="tested")
    assert entry.problem == ""
