"""Filters: distances, forces and calibrated errors that a made structure may have."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from elmlff_core.data.labels import dataset_from_structures
from elmlff_core.distillation.filters import Limits, smallest_distances
from elmlff_core.distillation.settings import DistillationSettings
from elmlff_core.stack.stack import StackPrediction
from tests.stack.copper import copper, morse_stack


@pytest.fixture(scope="module")
def limits(tmp_path_factory):
    train = dataset_from_structures([copper(seed) for seed in range(4)], "copper")
    stack = morse_stack(tmp_path_factory.mktemp("fit"))
    return train, stack, Limits.of(DistillationSettings(), train, stack)


def test_smallest_distances_are_those_of_the_structures():
    methane = molecule("CH4")
    found = smallest_distances([methane, bulk("Cu", cubic=True, a=3.6)])
    assert found[6, 1] == found[1, 6] == pytest.approx(methane.get_distance(0, 1))
    assert found[1, 1] == pytest.approx(methane.get_distance(1, 2))
    assert found[29, 29] == pytest.approx(3.6 / np.sqrt(2))
    # Elements that never meet have a distance from their covalent radii: 1.32 Å for copper, 0.76 Å for carbon.
    assert 0.9 * found[29, 6] == pytest.approx(0.7 * (1.32 + 0.76))


def test_structures_that_are_too_close_are_found_through_the_boundary(limits):
    train, _, found = limits
    assert not found.too_close(train.structures).any()
    near = Atoms("Cu2", positions=[[0.1, 1, 1], [9.0, 1, 1]], cell=[10, 10, 10], pbc=True)  # 1.1 Å apart
    free = near.copy()
    free.pbc = False
    assert found.too_close([near, free]).tolist() == [True, False]


def test_the_user_may_give_a_distance(limits):
    train, stack, _ = limits
    strict = Limits.of(DistillationSettings(smallest_distance=2.9), train, stack)
    assert strict.too_close(train.structures).all()


def test_bounds_come_from_data_and_calibration(limits):
    train, stack, found = limits
    assert found.largest_force == pytest.approx(1.5 * np.linalg.norm(train.forces, axis=1).max())
    assert found.largest_error == pytest.approx(20 * stack.uncertainty.usual_error)
    stack.uncertainty, calibrated = None, stack.uncertainty
    assert Limits.of(DistillationSettings(), train, stack).largest_error is None
    stack.uncertainty = calibrated


def test_large_forces_and_errors_are_found_by_structure(limits):
    _, _, found = limits
    forces = np.zeros((5, 3))
    forces[1] = 0.5 * found.largest_force
    forces[4] = [0, found.largest_force, 0.1]
    std = np.array([0, 0, 1.1, 0, 0.9]) * found.largest_error
    prediction = StackPrediction(np.array([2, 1, 2]), forces, forces_std=std)
    assert found.too_strong(prediction).tolist() == [False, False, True]
    assert found.too_uncertain(prediction).tolist() == [False, True, False]
