"""The linear combination of base models: forces weighted by least squares per element, in closed form.

For atoms of element Z the combination is ``F = sum_m w[Z, m] F_m`` with the weights that minimise the squared error on
the training structures: the classical linear stacking of Breiman (1996), one set of weights per element.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elmlff_core.arrays import new_array
from elmlff_core.contracts.features import Features


@dataclass(frozen=True)
class NormalEquations:
    """Products of base forces with each other and with the reference, by element.

    Attributes
    ----------
    atomic_numbers : (n_elements,) int, ascending
    gram : (n_elements, n_models, n_models) float64
    right : (n_elements, n_models) float64
    """

    atomic_numbers: np.ndarray
    gram: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, features: Features) -> NormalEquations:
        """Summed over the structures of `features`."""
        elements, n_models = features.elements, len(features.models)
        gram, right = np.zeros((len(elements), n_models, n_models)), np.zeros((len(elements), n_models))
        for _, block in features.blocks():
            for place, number in enumerate(elements):
                rows = np.flatnonzero(block.atomic_numbers == number)
                base = block.forces[:, rows].reshape(n_models, -1)
                gram[place] += base @ base.T
                right[place] += base @ block.reference_forces[rows].ravel()
        return cls(elements, gram, right)


@dataclass(frozen=True)
class LinearCombination:
    """Weights of the bases for each element.

    Attributes
    ----------
    atomic_numbers : (n_elements,) int, ascending
    weights : (n_elements, n_models) float64
    """

    atomic_numbers: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(cls, features: Features, ridge: float = 0.0, nonnegative: bool = False) -> LinearCombination:
        """Least squares on reference forces; `ridge` (relative to the squared base force) shrinks towards the mean.

        With `nonnegative` no base counts against its own forces: weights that would be negative are zero.

        Works on the normal equations, so that it needs little memory beside the features.  Without bases there are no
        weights, and the combination is zero.
        """
        elements, n_models = features.elements, len(features.models)
        weights = np.empty((len(elements), n_models))
        if not n_models:
            return cls(elements, weights)
        equations = NormalEquations.of(features)
        for place, (gram, right) in enumerate(zip(equations.gram, equations.right, strict=True)):
            penalty = ridge * np.trace(gram) / n_models
            right = right + penalty / n_models
            gram = gram + penalty * np.eye(n_models)
            weights[place] = _nonnegative(gram, right) if nonnegative else np.linalg.lstsq(gram, right, rcond=1e-12)[0]
        return cls(elements, weights)

    @property
    def by_number(self) -> np.ndarray:
        """Weights by atomic number: (119, n_models), NaN for elements that were not fitted."""
        table = np.full((119, self.weights.shape[1]), np.nan)
        table[self.atomic_numbers] = self.weights
        return table

    def apply(self, features: Features) -> np.ndarray:
        """Combined forces: (n_rows, 3), eV/Å. ElmlffError on an element that was not in the training structures."""
        features.check_elements(self.atomic_numbers)
        combined, table = new_array((len(features.atomic_numbers), 3)), self.by_number
        for rows, block in features.blocks():
            np.einsum("rm,mrx->rx", table[block.atomic_numbers], block.forces, out=combined[rows])
        return combined


def _nonnegative(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The w >= 0 that minimises ``w gram w - 2 right w`` (Lawson and Hanson, 1974): (n_models,)."""
    from scipy.optimize import nnls  # takes half a second to import, and listing plugins needs none of it

    values, vectors = np.linalg.eigh(gram)
    # The same problem as |root w - b|², with a root of the Gram matrix in place of the many rows behind it.
    root = np.sqrt(np.maximum(values, 1e-12 * values[-1]))
    return np.asarray(nnls(root[:, None] * vectors.T, vectors.T @ right / root)[0])
