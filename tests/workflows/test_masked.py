"""The method `masked`: one training for all subsets, meta-models that cannot be masked, and resuming."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from elmlff_core.contracts.progress import Reporter
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.errors import ConfigError, ElmlffError
from elmlff_core.files import write_record
from elmlff_core.fits.fit import Fit, fit_or_load
from elmlff_core.fits.meta_models import NamedMeta
from elmlff_core.plugins.registry import registry
from elmlff_core.settings.config import Config
from elmlff_core.testing.meta_model import example_features
from elmlff_core.workflows.sweep.least_squares import least_squares_errors
from elmlff_core.workflows.sweep.masked import check_maskable, make_masks, masked_errors
from elmlff_core.workflows.sweep.subsets import all_subsets

OPTIONS = {"width": 16, "layers": 2, "heads": 4}


def meta(name: str = "egat", options=None, epochs: int = 12) -> NamedMeta:
    training = Config().training.model_copy(
        update={"epochs": epochs, "device": "cpu", "batch_size": 4, "loss": "norm", "learning_rate": 5e-3,
                "averaging": 0.9}
    )  # fmt: skip
    return NamedMeta(name, registry().meta_model(name), OPTIONS if options is None else options, training)


@pytest.fixture(scope="module")
def features():
    return {
        "train": example_features(60), "valid": example_features(12, seed=300), "test": example_features(20, seed=500)
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(features, tmp_path_factory) -> tuple[Path, list]:
    folder = tmp_path_factory.mktemp("masked")
    return folder, masked_errors(meta(), 0, features, folder, Reporter())


def test_one_training_gives_lower_errors_than_linear_combinations(features, trained):
    """The error of the base model `crowded` is a factor that depends on the neighbours, which a network can correct."""
    subsets = all_subsets(features["train"].models)
    combinations = {entry.subset: entry.errors for entry in least_squares_errors(subsets, features)}
    masked = {entry.subset: entry.errors for entry in trained[1]}
    assert masked.keys() == combinations.keys()
    for subset in (("crowded",), ("scaled", "crowded"), ("scaled", "noisy", "crowded")):
        assert masked[subset]["test"] < 0.93 * combinations[subset]["test"], subset
    assert np.mean([errors["valid"] for errors in masked.values()]) < np.mean(
        [errors["valid"] for errors in combinations.values()]
    )


def test_missing_evaluations_are_repeated_without_a_training(features, trained):
    folder, entries = trained
    path = folder / "results.json"
    found = json.loads(path.read_text())["subsets"]
    assert len(found) == 7
    write_record(path, {"subsets": {name: found[name] for name in list(found)[:2]}})
    before = (folder / "fitted.json").stat().st_mtime_ns
    again = masked_errors(meta(), 0, features, folder, Reporter())
    assert [entry.errors for entry in again] == [entry.errors for entry in entries]
    assert (folder / "fitted.json").stat().st_mtime_ns == before
    assert all(entry.seconds > 0 for entry in again)


@pytest.mark.parametrize("name", ["mean", "linear", "conservative"])
def test_a_meta_model_that_cannot_be_masked_is_an_error(name, features, tmp_path):
    with pytest.raises(ConfigError, match=f"'{name}' cannot be fitted with base models masked"):
        check_maskable(meta(name, {}))
    train, valid = features["train"], features["valid"]
    fit = Fit(meta(name, {}), 0, masks=make_masks(train, 0))
    with pytest.raises(ElmlffError, match="cannot be fitted with base models masked"):
        fit_or_load(fit, features, tmp_path, Reporter())
    with pytest.raises(ElmlffError, match="cannot be fitted with base models masked"):
        fit.meta.make().fit(FitRequest(train, valid, fit.meta.training, tmp_path, 0, print, fit.masks))
    check_maskable(meta("gat", {}))
