"""Ridge regression from normal equations, for strengths of the ridge of which validation chooses one.

Shapes: P unknowns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

# Strengths relative to the mean square of the columns that are held back.
STRENGTHS = 10.0 ** np.arange(-13, 0.5, 0.5)
# Keeps the factorisation possible where columns depend on each other.
SMALLEST = 1e-14
BLOCK_ROWS = 4096  # that are scaled at a time


class NormalEquations:
    """Sums of products of the columns of a least-squares problem, to which rows are added in blocks.

    Parameters
    ----------
    scale : (P,), what each column is divided by; a column with a large scale is held back more
    free : (P,) bool, columns that are not held back
    """

    def __init__(self, scale: np.ndarray, free: np.ndarray) -> None:
        self.scale, self.free = scale, free
        self.products = np.zeros((len(scale), len(scale)))
        self.projections = np.zeros(len(scale))

    def add(self, rows: np.ndarray, labels: np.ndarray) -> None:
        """Add rows (n, P) with labels (n,)."""
        for start in range(0, len(labels), BLOCK_ROWS):
            scaled = rows[start : start + BLOCK_ROWS] / self.scale
            self.products += scaled.T @ scaled
            self.projections += labels[start : start + BLOCK_ROWS] @ scaled

    @classmethod
    def joined(cls, parts: Sequence[NormalEquations]) -> NormalEquations:
        """Return the equations of all rows of `parts`, which have the same columns."""
        whole = cls(parts[0].scale, parts[0].free)
        for part in parts:
            whole.products += part.products
            whole.projections += part.projections
        return whole

    def solution(self, strength: float) -> Solution:
        """Return the solution with a ridge of this strength."""
        diagonal = np.diag(self.products)
        held = diagonal[~self.free]
        ridge = np.where(self.free, 0.0, strength * (held.mean() if len(held) else 0.0))
        # Divided by the roots of the diagonal the matrix is as well conditioned as a diagonal scaling can make it.
        root = np.sqrt(diagonal + ridge)
        root[root == 0] = 1.0  # a column of zeros
        matrix = self.products / root / root[:, None]
        matrix[np.diag_indices_from(matrix)] = (diagonal + ridge) / root**2 + SMALLEST * len(root)
        factor = scipy.linalg.cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
        found = scipy.linalg.cho_solve((factor, True), self.projections / root, check_finite=False) / root
        return Solution(strength, found / self.scale, factor, root * self.scale)


@dataclass(frozen=True)
class Solution:
    """The coefficients for one strength of the ridge.

    Attributes
    ----------
    strength : of the ridge
    coefficients : (P,)
    factor : (P, P), lower triangular, of the matrix whose inverse is the covariance of the coefficients but for scales
    scale : (P,), by which the columns of this matrix are divided
    """

    strength: float
    coefficients: np.ndarray
    factor: np.ndarray
    scale: np.ndarray

    def draws(self, n_draws: int, generator: np.random.Generator) -> np.ndarray:
        """Draw deviations of the coefficients from their posterior distribution, for errors of one: (n_draws, P)."""
        normal = generator.standard_normal((len(self.scale), n_draws))
        deviations = scipy.linalg.solve_triangular(self.factor, normal, trans="T", lower=True, check_finite=False)
        return np.asarray(deviations.T / self.scale)
