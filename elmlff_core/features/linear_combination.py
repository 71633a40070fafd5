"""The linear combination of base models, with weights per element from least squares in closed form.

For atoms of element Z the combination is ``F = sum_m w[Z, m] F_m`` with the weights that minimise the squared error on
the training structures.  This is the classical linear stacking of Breiman (1996), with one set of weights per element.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from elmlff_core.arrays import new_array
from elmlff_core.contracts.features import Features


@dataclass(frozen=True)
class NormalEquations:
    """Sums of products of base forces with each other and with the reference forces, for each element.

    Attributes
    ----------
    atomic_numbers : (n_elements,) int, ascending
    gram : (n_elements, n_models, n_models) float64
    right : (n_elements, n_models) float64
    n_atoms : (n_elements,) int, atoms in the sums
    """

    atomic_numbers: np.ndarray
    gram: np.ndarray
    right: np.ndarray
    n_atoms: np.ndarray

    @classmethod
    def of(cls, features: Features) -> NormalEquations:
        """Sum the products over the structures of `features`."""
        elements, n_models = features.elements, len(features.models)
        gram, right = np.zeros((len(elements), n_models, n_models)), np.zeros((len(elements), n_models))
        for _, block in features.blocks():
            for place, number in enumerate(elements):
                rows = np.flatnonzero(block.atomic_numbers == number)
                base = block.forces[:, rows].reshape(n_models, -1)
                gram[place] += base @ base.T
                right[place] += base @ block.reference_forces[rows].ravel()
        counts = np.bincount(features.atomic_numbers, minlength=119)[elements]
        return cls(elements, gram, right, counts)

    def of_all_elements(self) -> NormalEquations:
        """Return the equations of weights that all elements share, under the number of the first."""
        sums = (self.gram.sum(axis=0, keepdims=True), self.right.sum(axis=0, keepdims=True))
        return NormalEquations(self.atomic_numbers[:1], *sums, self.n_atoms.sum(keepdims=True))

    def shrunk(self, weights: np.ndarray, n_atoms: float) -> NormalEquations:
        """Return the equations as if each element had `n_atoms` more atoms of the mean kind with these weights."""
        added = n_atoms * self.gram.sum(axis=0) / self.n_atoms.sum()
        return replace(self, gram=self.gram + added, right=self.right + added @ weights)


@dataclass(frozen=True)
class LinearCombination:
    """Weights of the base models for each element.

    Attributes
    ----------
    atomic_numbers : (n_elements,) int, ascending
    weights : (n_elements, n_models) float64
    """

    atomic_numbers: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(
        cls, features: Features, ridge: float = 0.0, nonnegative: bool = False, shrinkage: float = 0.0
    ) -> LinearCombination:
        """Fit the weights to the reference forces by least squares.

        The fit uses the normal equations, so it needs little memory in addition to the features.  Without base models
        there are no weights, and the combination is zero.

        Parameters
        ----------
        features : with reference forces
        ridge : shrinks the weights towards the mean of the base models; relative to the squared base forces
        nonnegative : whether weights are constrained to be zero or positive
        shrinkage : shrinks the weights of each element towards those of all elements together, as if the element had
            this many more atoms with the latter
        """
        if not features.models:
            return cls(features.elements, np.empty((len(features.elements), 0)))
        return cls.of_equations(NormalEquations.of(features), ridge, nonnegative, shrinkage)

    @classmethod
    def of_equations(
        cls, equations: NormalEquations, ridge: float = 0.0, nonnegative: bool = False, shrinkage: float = 0.0
    ) -> LinearCombination:
        """Solve the normal equations for the weights; parameters as in `fit`."""
        if shrinkage and len(equations.atomic_numbers) > 1:
            common = cls.of_equations(equations.of_all_elements(), ridge, nonnegative)
            equations = equations.shrunk(common.weights[0], shrinkage)
        elements, n_models = equations.atomic_numbers, equations.gram.shape[1]
        weights = np.empty((len(elements), n_models))
        for place, (gram, right) in enumerate(zip(equations.gram, equations.right, strict=True)):
            penalty = ridge * np.trace(gram) / n_models
            right = right + penalty / n_models
            gram = gram + penalty * np.eye(n_models)
            weights[place] = _nonnegative(gram, right) if nonnegative else np.linalg.lstsq(gram, right, rcond=1e-12)[0]
        return cls(elements, weights)

    @property
    def by_number(self) -> np.ndarray:
        """The weights by atomic number: (119, n_models), NaN for elements that were not fitted."""
        table = np.full((119, self.weights.shape[1]), np.nan)
        table[self.atomic_numbers] = self.weights
        return table

    def apply(self, features: Features) -> np.ndarray:
        """Return the combined forces: (n_rows, 3), eV/Å; ElmlffError on an element without fitted weights."""
        features.check_elements(self.atomic_numbers)
        combined, table = new_array((len(features.atomic_numbers), 3)), self.by_number
        for rows, block in features.blocks():
            np.einsum("rm,mrx->rx", table[block.atomic_numbers], block.forces, out=combined[rows])
        return combined


def _nonnegative(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the w >= 0 that minimises ``w gram w - 2 right w`` (Lawson and Hanson, 1974): (n_models,)."""
    from scipy.optimize import nnls  # the import takes half a second, and listing plugins does not need it

    values, vectors = np.linalg.eigh(gram)
    # This equals minimising |root w - b|², where a root of the Gram matrix replaces the many rows of forces.
    root = np.sqrt(np.maximum(values, 1e-12 * values[-1]))
    return np.asarray(nnls(root[:, None] * vectors.T, vectors.T @ right / root)[0])
