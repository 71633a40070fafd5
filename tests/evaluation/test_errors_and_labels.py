"""Errors in detail against loops over atoms, and label noise against labels with known noise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.evaluation.diagnostics import diagnose
from elmlff_core.evaluation.errors_in_detail import errors_in_detail, in_sample_gaps
from elmlff_core.evaluation.label_noise import free_positions, label_noise
from tests.conftest import synthetic_features


def labelled(structures: list[Atoms], forces: list[np.ndarray]) -> Features:
    reference = Prediction.from_lists(forces)
    return Features(structures, ("a",), reference.forces[None], {}, reference, "labels.extxyz")


def test_errors_by_element_bin_and_frame_agree_with_a_loop():
    features = synthetic_features(30)
    index = np.arange(30) * 7 + 3
    error = features.forces[1] - features.reference_forces
    found = errors_in_detail("m1", features.forces[1], features, index)
    by_element: dict[str, list[float]] = {"C": [], "H": []}
    frames = []
    row = 0
    for place, atoms in enumerate(features.structures):
        squares = []
        for symbol in atoms.get_chemical_symbols():
            by_element[symbol] += list(error[row] ** 2)
            squares += list(error[row] ** 2)
            row += 1
        frames.append((np.sqrt(np.mean(squares)), place))
    for symbol, squares in by_element.items():
        assert found.elements[symbol].rmse == pytest.approx(np.sqrt(np.mean(squares)))
        assert found.elements[symbol].n_atoms == len(squares) / 3
    rmse, place = max(frames)
    assert (found.worst[0].index, found.worst[0].source) == (index[place], "synthetic")
    assert found.worst[0].rmse == pytest.approx(rmse)
    own = np.linalg.norm(error[5 * place : 5 * place + 5], axis=1)
    assert (found.worst[0].worst_atom, found.worst[0].worst_error) == (own.argmax(), pytest.approx(own.max()))
    magnitude = np.linalg.norm(features.reference_forces, axis=1)
    assert sum(force_bin.error.n_atoms for force_bin in found.bins) == 150
    n_atoms = [force_bin.error.n_atoms for force_bin in found.bins]
    assert n_atoms == pytest.approx([37.5, 37.5, 37.5, 22.5, 13.5, 1.5], abs=1)
    highest = magnitude >= np.quantile(magnitude, 0.99)
    assert found.bins[-1].error.mae == pytest.approx(np.abs(error[highest]).mean())


def test_equal_forces_leave_one_bin():
    features = labelled([Atoms("H2", [[0, 0, 0], [0, 0, 1]])], [np.zeros((2, 3))])
    found = errors_in_detail("a", np.full((2, 3), 0.5), features)
    assert [(force_bin.error.n_atoms, force_bin.error.rmse) for force_bin in found.bins] == [(2, 0.5)]


def test_in_sample_gap():
    train, test = synthetic_features(20, noise=0.0), synthetic_features(20, seed=1, noise=0.0)
    exact = train.reference_forces + np.array([0.1, -0.1, 0.1])
    train = Features(train.structures, ("m",), exact[None], {}, train.reference)
    test = Features(test.structures, ("m",), test.reference_forces[None] + 0.3, {}, test.reference)
    (gap,) = in_sample_gaps(train, test)
    assert (gap.train, gap.test, gap.ratio) == pytest.approx((0.1, 0.3, 3.0))


def test_net_force_and_error_floor():
    rng = np.random.default_rng(0)
    water = molecule("H2O")
    forces = []
    for _ in range(50):
        balanced = rng.normal(size=(3, 3))
        balanced -= balanced.mean(axis=0)
        forces.append(balanced + np.array([0.02, 0, 0]) * rng.choice([-1, 1]))
    noise = label_noise(labelled([water] * 50, forces))
    assert noise.net_force == pytest.approx(0.06 / np.sqrt(3))
    # the nearest forces that sum to zero differ by 0.02 in the x component of each atom
    assert noise.error_floor == pytest.approx(0.02 / np.sqrt(3))


def test_a_couple_has_a_torque_and_central_forces_have_none():
    pair = Atoms("H2", [[0, 0, 0], [0, 0, 0.8]])
    couple = np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    central = np.array([[0, 0, 1.0], [0, 0, -1.0]])
    assert label_noise(labelled([pair], [couple])).net_torque == pytest.approx(0.8 / np.sqrt(3))
    assert label_noise(labelled([pair], [central])).net_torque == 0.0


def test_a_molecule_across_the_periodic_boundary_is_put_together():
    methanol = molecule("CH3OH")
    boxed = Atoms(methanol.numbers, methanol.positions + np.array([11.9, 0.1, 5.0]), cell=[12.0] * 3, pbc=True)
    boxed.wrap()
    whole = free_positions(boxed)
    assert whole - whole[0] == pytest.approx(methanol.positions - methanol.positions[0])
    assert np.ptp(boxed.positions[:, 0]) > 10


@pytest.mark.parametrize(
    "atoms",
    [bulk("Cu"), bulk("Cu", cubic=True), Atoms("Cu2", [[0, 0, 0], [5, 5, 5.0]], cell=[20.0] * 3, pbc=True)],
    ids=["one atom", "crystal", "two pieces"],
)
def test_structures_that_are_no_free_molecules_have_no_torque(atoms):
    assert free_positions(atoms) is None
    assert label_noise(labelled([atoms], [np.zeros((len(atoms), 3))])).net_torque is None


def test_diagnostics_are_plain_data():
    splits = {"train": synthetic_features(40), "test": synthetic_features(20, seed=1)}
    mean = Prediction(splits["test"].n_atoms, splits["test"].forces.mean(axis=0))
    found = diagnose(splits, {"mean": mean}, {"train": np.arange(40), "test": np.arange(20)}, "random")
    record = json.loads(json.dumps(found.as_record(), allow_nan=False))
    assert [entry["name"] for entry in record["errors"]] == ["m0", "m1", "m2", "mean"]
    assert record["split"]["n_compared"] == 20
    assert record["labels"]["train"]["n_torques"] == 40
