"""The conformance kit for every registered adapter that needs no training here, and for every meta-model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from elmlff_core.contracts.hookspecs import LoadRequest
from elmlff_core.contracts.protocols import BaseForceField
from elmlff_core.plugins.registry import registry, unusable
from elmlff_core.testing import check_force_field, check_meta_model, example_structures
from tests.conftest import shared_folder

# Small enough to fit in seconds; all other options have their defaults.
QUICK_OPTIONS: dict[str, dict[str, Any]] = {
    "gat": {"channels": [16, 16], "heads": 2, "averaged_layers": 1},
    "egat": {"width": 16, "layers": 2, "heads": 4},
    "egat-ace": {"width": 16, "layers": 2, "heads": 4, "ace": {"functions": 100, "environments": 50}},
    "conservative": {"width": 16, "layers": 2, "heads": 4},
    "conservative-ace": {"width": 16, "layers": 2, "heads": 4, "ace": {"functions": 100, "environments": 50}},
}
# Properties that a meta-model does not have according to its description.
NOT_PROMISED = {"gat": ["rotation"], "median": ["rotation"]}
CHECKPOINTS = {
    "nep": ("nep", "nep.txt"),
    "painn": ("painn", "painn.best_inference_model"),
    "sch1": ("schnet", "sch1.best_inference_model"),
}
# Adapters whose checkpoints need a training; the tests of the adapter train a model and check it.
TRAINED_ELSEWHERE = {"dp"}


def load(adapter: str, checkpoint=None, descriptors: bool = False, **options: Any) -> BaseForceField:
    plugin = registry().force_field(adapter)
    if problem := unusable(plugin):
        pytest.skip(problem)
    return plugin.load(LoadRequest("tested", checkpoint, plugin.options(**options), True, descriptors))


def test_all_adapters_are_registered():
    assert set(registry().force_fields) >= {
        "ase",
        *(adapter for adapter, _ in CHECKPOINTS.values()),
        *TRAINED_ELSEWHERE,
    }


def test_emt_through_ase():
    report = check_force_field(load("ase", calculator="ase.calculators.emt:EMT", elements=["Cu", "Au"]))
    not_there = ("reference", "descriptors")
    assert {check.status for check in report.checks if check.name not in not_there} == {"passed"}


def test_lennard_jones_through_ase():
    arguments = {"sigma": 3.4, "epsilon": 0.0104, "rc": 8.5, "ro": 6.0, "smooth": True}
    model = load("ase", calculator="ase.calculators.lj:LennardJones", arguments=arguments)
    check_force_field(model, example_structures(["Ar"], spacing=3.8))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_authors_checkpoints(name):
    adapter, file = CHECKPOINTS[name]
    checkpoint = shared_folder() / "models" / "methanol-cu100" / file
    if not checkpoint.exists():
        pytest.skip(f"there is no {checkpoint}")
    options = {} if adapter == "nep" else {"device": "cpu"}
    report = check_force_field(
        load(adapter, checkpoint, descriptors=True, **options),
        example_structures(["C", "Cu", "H", "O"]),
        # SchNet and PaiNN have embeddings for 92 elements, so the elements of the training data are not known.
        skip={"unknown_element": "the checkpoint has no list of elements"} if adapter != "nep" else None,
    )
    assert report["descriptors"].status == "passed"


@pytest.mark.parametrize("name", sorted(registry().meta_models))
def test_meta_models(name):
    plugin = registry().meta_model(name)
    options = plugin.options(**QUICK_OPTIONS.get(name, {}))
    report = check_meta_model(lambda: plugin.make(options), reported=NOT_PROMISED.get(name, []))
    assert report["fit"].status == "passed"


def test_gat_with_a_head_per_atom_takes_any_structure():
    plugin = registry().meta_model("gat")
    options = plugin.options(readout="atom", **QUICK_OPTIONS["gat"])
    report = check_meta_model(lambda: plugin.make(options), reported=["rotation"])
    for name in ("permutation", "other_sizes", "one_atom"):
        assert report[name].status == "passed"
    # The network has learnt something: the linear combination alone would have a rotation error of zero.
    assert report["rotation"].figure is not None
    assert np.isfinite(report["rotation"].figure.value)
    assert report["rotation"].figure.value > 1e-3
