"""Symmetries of every meta-model with real base models, for the stack as a whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.protocols import FitRequest, MetaModel
from elmlff_core.plugins.registry import registry
from elmlff_core.settings.config import TrainingConfig
from tests.physics.conftest import BaseModels

# Small enough to be fitted in seconds.  With the head per atom gat takes all of these structures, and with the direct
# target it deviates from the linear combination.
SMALL: dict[str, dict[str, Any]] = {
    "gat": {"channels": [8, 8], "heads": 2, "averaged_layers": 1, "readout": "atom", "target": "direct"},
    "egat": {"width": 16, "layers": 2, "heads": 4},
    "egat-ace": {"width": 16, "layers": 2, "heads": 4, "ace": {"functions": 100, "environments": 50}},
    "conservative": {"width": 16, "layers": 2, "heads": 4},
    "conservative-ace": {"width": 16, "layers": 2, "heads": 4, "ace": {"functions": 100, "environments": 50}},
}
# Fractions of the largest force.  Networks in float32 have seven digits; base models and sums have double precision.
RELATIVE = {"gat": 2e-5, "egat": 2e-5, "egat-ace": 2e-5, "conservative": 2e-5, "conservative-ace": 2e-5}
CLOSED_FORM = 1e-10
# These use components instead of vectors: the median per component, and the network of the paper.
NOT_EQUIVARIANT = ("gat", "median")
Fitted = Callable[[str], MetaModel]


@pytest.fixture(scope="module")
def fitted(learnt_from: tuple[Features, Features], tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """Return a meta-model, fitted for a few epochs, so that it deviates from the linear combination."""
    known: dict[str, MetaModel] = {}

    def get(name: str) -> MetaModel:
        if name not in known:
            plugin = registry().meta_model(name)
            known[name] = plugin.make(plugin.options(**SMALL.get(name, {})))
            given = TrainingConfig(epochs=8, batch_size=4, device="cpu", learning_rate=5e-3)
            training = given.with_defaults(plugin.training)
            folder = tmp_path_factory.mktemp(name)
            known[name].fit(FitRequest(*learnt_from, training, folder, 0, lambda _: None))
        return known[name]

    return get


@pytest.fixture(params=sorted(registry().meta_models))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def deviation(name: str, found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest deviation in units of the tolerance."""
    return float(np.abs(found - expected).max() / np.abs(expected).max() / RELATIVE.get(name, CLOSED_FORM))


def orthogonal(determinant: int) -> np.ndarray:
    """A random rotation (1) or a rotation with a reflection (-1)."""
    q, _ = np.linalg.qr(np.random.default_rng(11).normal(size=(3, 3)))
    return q if np.sign(np.linalg.det(q)) == determinant else -q


@pytest.mark.parametrize("determinant", [1, -1])
def test_forces_turn_with_the_structure(name, determinant, fitted: Fitted, base_models: BaseModels, crystal: Atoms):
    turn = orthogonal(determinant)
    turned = crystal.copy()
    turned.set_cell(crystal.cell.array @ turn.T)
    turned.positions = crystal.positions @ turn.T
    here, there = (fitted(name).predict(base_models.features([atoms])) for atoms in (crystal, turned))
    found = deviation(name, there.forces, here.forces @ turn.T)
    if name in NOT_EQUIVARIANT:
        assert found > 10  # otherwise the test would not be sensitive
    else:
        assert found < 1
        assert there.energy == pytest.approx(here.energy, rel=1e-9)


def test_forces_follow_the_atoms(name, fitted: Fitted, base_models: BaseModels, crystal: Atoms):
    order = np.random.default_rng(2).permutation(len(crystal))
    here, there = (fitted(name).predict(base_models.features([atoms])) for atoms in (crystal, crystal[order]))
    assert deviation(name, there.forces, here.forces[order]) < 1


def test_moving_through_the_boundary_changes_nothing(name, fitted: Fitted, base_models: BaseModels, crystal: Atoms):
    moved = crystal.copy()
    moved.positions += [1.7, -2.9, 4.1]
    moved.wrap()
    here, there = (fitted(name).predict(base_models.features([atoms])) for atoms in (crystal, moved))
    assert deviation(name, there.forces, here.forces) < 1


def test_a_supercell_is_its_cells(name, fitted: Fitted, base_models: BaseModels, crystal: Atoms):
    """All images are neighbours: images of the same atom in the small cell, other atoms in the large one."""
    if name == "gat":
        pytest.skip("the graph of the paper has one edge per pair, independent of the number of images")
    double = crystal.repeat((2, 1, 1))
    here, there = (fitted(name).predict(base_models.features([atoms])) for atoms in (crystal, double))
    assert deviation(name, there.forces, np.tile(here.forces, (2, 1))) < 1
    assert there.energy == pytest.approx(2 * here.energy, rel=1e-9)


def test_two_far_copies_are_twice_one(
    name, fitted: Fitted, base_models: BaseModels, learnt_from: tuple[Features, Features]
):
    one = learnt_from[0].structures[0]
    other = one.copy()
    other.positions += [60.0, 0.0, 0.0]
    here, there = (fitted(name).predict(base_models.features([atoms])) for atoms in (one, one + other))
    assert deviation(name, there.forces, np.tile(here.forces, (2, 1))) < 1
    assert there.energy == pytest.approx(2 * here.energy, rel=1e-9)


def test_one_atom_alone_feels_no_force(name, fitted: Fitted, base_models: BaseModels):
    found = fitted(name).predict(base_models.features([Atoms("C", positions=[[0.0, 0.0, 0.0]])]))
    # The network of the paper need not give zero; all others have only zero vectors as inputs.
    assert np.abs(found.forces).max() < (np.inf if name == "gat" else 1e-6)
    assert np.isfinite(found.forces).all()


def test_net_force_is_removed_by_option(base_models: BaseModels, crystal: Atoms, learnt_from, tmp_path: Path):
    plugin = registry().meta_model("egat")
    training = TrainingConfig(epochs=2, batch_size=4, device="cpu").with_defaults(plugin.training)
    net = {}
    for remove in (False, True):
        meta = plugin.make(plugin.options(**SMALL["egat"], remove_net_force=remove))
        meta.fit(FitRequest(*learnt_from, training, tmp_path / str(remove), 0, lambda _: None))
        forces = meta.predict(base_models.features([crystal])).forces
        net[remove] = np.abs(forces.sum(axis=0)).max() / np.abs(forces).max()
    assert net[True] < 1e-6
    assert net[False] > 1e-5
