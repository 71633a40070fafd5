"""Runs with arrays in files have the same results as runs with arrays in memory."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from elmlff_core import arrays
from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.settings.reading import read_config
from elmlff_core.stack.stack import make_meta
from elmlff_core.workflows.stack.workflow import build_stack
from tests.cli.small_data import write_small_data
from tests.conftest import synthetic_features

TINY = {
    "name": "linear,gat,egat,conservative",
    "gat": {"channels": [8, 8], "averaged_layers": 1},
    "egat": {"width": 8, "layers": 1, "heads": 1},
    "conservative": {"width": 8, "layers": 1, "heads": 1},
}


def test_a_run_is_the_same_with_its_arrays_in_files(tmp_path, monkeypatch):
    write_small_data(tmp_path)
    config = read_config(tmp_path / "elmlff.toml", {"meta": TINY, "training": {"epochs": 2}})
    inside = build_stack(config, tmp_path / "inside")
    mapped = []
    monkeypatch.setattr(arrays, "MEMORY_BYTES", 1000)
    nameless = arrays._nameless_file
    monkeypatch.setattr(arrays, "_nameless_file", lambda n_bytes: (mapped.append(n_bytes), nameless(n_bytes))[1])
    outside = build_stack(config, tmp_path / "outside")
    assert len(mapped) > 30
    for one, other in zip(inside.errors, outside.errors, strict=True):
        assert (one.name, one.errors) == (other.name, other.errors)
    first, second = (json.loads((tmp_path / run / "diagnostics.json").read_text()) for run in ("inside", "outside"))
    assert first["uncertainty"] == second["uncertainty"]
    assert first["errors"] == second["errors"]


def test_a_prediction_in_blocks_is_that_of_all_structures(monkeypatch):
    features = synthetic_features(n_structures=50)
    meta = make_meta("linear", {})
    meta.combination = LinearCombination.fit(features)
    whole = meta.predict(features)
    sizes = []

    def predict(block: Features) -> Prediction:
        sizes.append(len(block))
        return meta.predict(block)

    blocks = Features.blocks
    monkeypatch.setattr(Features, "blocks", lambda self: blocks(self, 20))
    found = in_blocks(features, predict)
    assert max(sizes) * int(features.n_atoms.max()) <= 20 < sum(sizes)
    np.testing.assert_array_equal(found.forces, whole.forces)


@pytest.mark.parametrize("work", ["fit", "apply"])
def test_a_linear_combination_needs_little_memory_beside_the_features(work):
    features = synthetic_features(n_structures=20_000)
    combination = LinearCombination.fit(features)
    tracemalloc.start()
    if work == "fit":
        LinearCombination.fit(features)
    else:
        combination.apply(features)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * features.forces.nbytes
