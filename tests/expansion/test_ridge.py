"""Ridge regression from normal equations, compared with NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from elmlff_core.expansion.ridge import NormalEquations

N_ROWS, N_COLUMNS = 400, 6


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(N_ROWS, N_COLUMNS)) * [1, 10, 0.1, 1, 1, 1]
    truth = rng.normal(size=N_COLUMNS)
    return rows, rows @ truth + rng.normal(scale=0.3, size=N_ROWS), truth


def equations(rows: np.ndarray, labels: np.ndarray, scale=None, free=None) -> NormalEquations:
    scale = np.ones(N_COLUMNS) if scale is None else scale
    free = np.zeros(N_COLUMNS, dtype=bool) if free is None else free
    parts = []
    for part in np.array_split(np.arange(N_ROWS), 7):
        parts.append(NormalEquations(scale, free))
        parts[-1].add(rows[part], labels[part])
    return NormalEquations.joined(parts)


def test_without_a_ridge_it_is_least_squares_whatever_the_scale(problem):
    rows, labels, _ = problem
    expected = np.linalg.lstsq(rows, labels, rcond=None)[0]
    for scale in (None, np.arange(1.0, 7.0)):
        solution = equations(rows, labels, scale).solution(0.0)
        assert np.allclose(solution.coefficients, expected, rtol=1e-8)


def test_a_ridge_holds_back_all_but_free_columns_and_those_of_a_large_scale_more(problem):
    rows, labels, _ = problem
    free = np.arange(N_COLUMNS) == 1
    scale = np.array([1.0, 1, 1, 1, 1, 50])
    solution = equations(rows, labels, scale, free).solution(1e6)
    assert np.abs(solution.coefficients[~free]).max() < 1e-4
    alone = np.linalg.lstsq(rows[:, free], labels, rcond=None)[0]
    assert solution.coefficients[free] == pytest.approx(alone, rel=1e-3)
    half = equations(rows, labels, scale, free).solution(1.0).coefficients
    assert abs(half[5]) < 0.01 * abs(half[4])


def test_draws_have_the_covariance_of_the_coefficients(problem):
    rows, labels, _ = problem
    solution = equations(rows, labels, np.arange(1.0, 7.0)).solution(0.0)
    draws = solution.draws(20_000, np.random.default_rng(2))
    expected = np.linalg.inv(rows.T @ rows)
    assert np.allclose(draws.T @ draws / len(draws), expected, atol=0.05 * np.abs(expected).max())


def test_columns_of_zeros_and_columns_twice_do_no_harm(problem):
    rows, labels, _ = problem
    rows[:, 3], rows[:, 4] = 0, rows[:, 5]
    solution = equations(rows, labels).solution(1e-10)
    assert np.isfinite(solution.coefficients).all()
    assert solution.coefficients[3] == 0
    best = rows @ np.linalg.lstsq(rows, labels, rcond=None)[0]
    assert np.allclose(rows @ solution.coefficients, best, atol=1e-3)
