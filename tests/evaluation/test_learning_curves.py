"""The learning curve of the linear combination against fits by NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from elmlff_core.contracts.features import Features
from elmlff_core.evaluation.learning_curve import joined, linear_learning_curve, parts_of
from tests.conftest import synthetic_features


def error_by_hand(train: Features, test: Features) -> float:
    """Least squares for each element by NumPy, and Eq. 7 as a loop; all structures are CH4."""
    weights = {}
    for number in (1, 6):
        rows = train.atomic_numbers == number
        base = train.forces[:, rows].reshape(len(train.models), -1).T
        weights[number] = np.linalg.lstsq(base, train.reference_forces[rows].ravel(), rcond=None)[0]
    errors = np.array(
        [
            sum(weights[int(number)][m] * test.forces[m, row] for m in range(len(test.models)))
            - test.reference_forces[row]
            for row, number in enumerate(test.atomic_numbers)
        ]
    )
    return float(np.mean([np.sqrt((errors[5 * i : 5 * i + 5] ** 2).mean()) for i in range(len(test))]))


def test_points_are_means_over_parts_without_common_structures():
    splits = {
        "train": synthetic_features(40),
        "valid": synthetic_features(8, seed=1),
        "test": synthetic_features(9, seed=2),
    }
    curve = linear_learning_curve(splits)
    assert [(point.n_structures, point.n_fits) for point in curve.points] == [(5, 8), (10, 4), (20, 2), (40, 1)]
    assert curve.points[-1].test == pytest.approx(error_by_hand(splits["train"], splits["test"]))
    parts = parts_of(40)
    assert sorted(np.concatenate(parts)) == list(range(40))
    for point, denominator in zip(curve.points, (8, 4, 2, 1), strict=True):
        fits = [splits["train"].subset(index) for index in joined(parts, denominator)]
        for split in ("valid", "test"):
            expected = np.mean([error_by_hand(part, splits[split]) for part in fits])
            assert getattr(point, split) == pytest.approx(expected)


def test_a_part_without_an_element_is_left_out():
    common, rare = synthetic_features(39), synthetic_features(1, seed=5, symbols="OH4")
    train = Features(
        [*common.structures, *rare.structures], common.models, np.concatenate([common.forces, rare.forces], axis=1),
        {}, type(common.reference)(
            np.concatenate([common.n_atoms, rare.n_atoms]),
            np.concatenate([common.reference_forces, rare.reference_forces]),
        ),
    )  # fmt: skip
    found = linear_learning_curve({"train": train, "valid": common, "test": rare})
    assert [point.n_fits for point in found.points] == [1, 1, 1, 1]


def test_too_few_structures_have_no_curve():
    few = synthetic_features(7)
    assert linear_learning_curve({"train": few, "valid": few, "test": few}) is None
