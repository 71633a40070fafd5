"""Weights of elements with few atoms, shrunk towards those of all elements."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.features.metrics import mean_rmse_per_frame
from elmlff_core.features.shrinkage import TRIED, validated_shrinkage


def many_elements(n: int, n_elements: int, seed: int, weights: np.ndarray | None = None) -> Features:
    """Return structures of four atoms of random elements; base models err at random, more than the labels' own noise.

    Without `weights` (n_elements, 3) all elements share the weights 0.6, 0.3 and 0.1.
    """
    rng = np.random.default_rng(seed)
    numbers = rng.integers(1, n_elements + 1, size=(n, 4))
    structures = [Atoms(row, positions=rng.normal(size=(4, 3))) for row in numbers]
    forces = rng.normal(size=(3, 4 * n, 3))
    table = np.tile([0.6, 0.3, 0.1], (n_elements, 1)) if weights is None else weights
    reference = np.einsum("nm,mnx->nx", table[numbers.ravel() - 1], forces) + rng.normal(size=(4 * n, 3))
    return Features(structures, ("a", "b", "c"), forces, {}, Prediction(np.full(n, 4), reference))


def test_many_elements_with_few_atoms_share_their_weights_and_err_less():
    train, test = many_elements(60, 40, 0), many_elements(500, 40, 1)
    shrinkage = validated_shrinkage(train)
    assert shrinkage >= 30
    plain, shrunk = LinearCombination.fit(train), LinearCombination.fit(train, shrinkage=shrinkage)
    known = [i for i, atoms in enumerate(test.structures) if np.isin(atoms.numbers, train.elements).all()]
    test = test.subset(known)
    assert mean_rmse_per_frame(shrunk.apply(test), test) < 0.9 * mean_rmse_per_frame(plain.apply(test), test)


def test_elements_that_differ_and_have_enough_atoms_keep_their_own_weights():
    differ = np.array([[0.9, 0.1, 0.0], [0.0, 0.2, 0.8]])
    assert validated_shrinkage(many_elements(300, 2, 0, differ)) == 0.0


def test_one_element_or_few_structures_are_not_shrunk():
    assert validated_shrinkage(many_elements(100, 1, 0)) == 0.0
    assert validated_shrinkage(many_elements(9, 5, 0)) == 0.0


def test_strong_shrinkage_gives_the_weights_of_all_elements_together():
    train = many_elements(60, 6, 2)
    common = np.linalg.lstsq(train.forces.reshape(3, -1).T, train.reference_forces.ravel(), rcond=None)[0]
    found = LinearCombination.fit(train, shrinkage=1e9).weights
    assert found == pytest.approx(np.tile(common, (6, 1)), abs=1e-6)
    assert LinearCombination.fit(train, shrinkage=0.0).weights != pytest.approx(found, abs=1e-3)


def test_pseudo_atoms_weigh_as_atoms():
    """Shrinkage by k atoms is the fit to the element's own atoms and to k average atoms with the common weights."""
    train = many_elements(60, 3, 3)
    own = train.atomic_numbers == 2
    gram = np.einsum("mnx,knx->mk", train.forces, train.forces) / len(own)
    right = np.einsum("mnx,nx->m", train.forces, train.reference_forces) / len(own)
    common = np.linalg.solve(gram, right)
    k = TRIED[3]
    own_gram = np.einsum("mnx,knx->mk", train.forces[:, own], train.forces[:, own])
    own_right = np.einsum("mnx,nx->m", train.forces[:, own], train.reference_forces[own])
    expected = np.linalg.solve(own_gram + k * gram, own_right + k * gram @ common)
    assert LinearCombination.fit(train, shrinkage=k).weights[1] == pytest.approx(expected)
