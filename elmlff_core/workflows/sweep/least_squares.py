"""The method ``least-squares``: the linear combination per element of every subset, in seconds.

The normal equations of a subset are a block of those of all base models.  Products of forces are therefore summed only
once; each subset is then a linear problem for its few weights.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from elmlff_core.contracts.features import Features
from elmlff_core.features.linear_combination import NormalEquations
from elmlff_core.features.metrics import evaluated_splits, mean_rmse_per_frame
from elmlff_core.workflows.sweep.subset_errors import SubsetErrors
from elmlff_core.workflows.sweep.subsets import Subset, membership

# Largest size of the array of errors by all subsets that is in memory at once.
CHUNK_NUMBERS = 2**23


def subset_weights(equations: NormalEquations, members: np.ndarray) -> np.ndarray:
    """Return the weights of each subset, (n_subsets, n_elements, n_models), zero for models outside the subset.

    Parameters
    ----------
    equations : normal equations of all models
    members : (n_subsets, n_models) bool, models of each subset
    """
    weights = np.zeros((len(members), *equations.right.shape))
    for index, inside in enumerate(members):
        for element, (gram, right) in enumerate(zip(equations.gram, equations.right, strict=True)):
            block = gram[np.ix_(inside, inside)]
            weights[index, element, inside] = np.linalg.lstsq(block, right[inside], rcond=1e-12)[0]
    return weights


def errors_of_combinations(features: Features, atomic_numbers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the force RMSE per frame (Eq. 7) of each combination, (n_combinations,), eV/Å.

    Parameters
    ----------
    features : features with reference labels
    atomic_numbers : (n_elements,) int, ascending
    weights : (n_combinations, n_elements, n_models)

    Raises
    ------
    ElmlffError
        `features` contain an element without weights.
    """
    features.check_elements(atomic_numbers)
    total = np.zeros(len(weights))
    size = max(1, CHUNK_NUMBERS // (3 * len(weights) * int(features.n_atoms.max())))
    for start in range(0, len(features), size):
        total += _frame_errors(features.subset(range(start, min(start + size, len(features)))), atomic_numbers, weights)
    return total / len(features)


def _frame_errors(features: Features, atomic_numbers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the sum over structures of the RMSE by each combination, (n_combinations,)."""
    numbers, reference = features.atomic_numbers, features.reference_forces
    squared = np.empty((len(numbers), len(weights)))
    for element, number in enumerate(atomic_numbers):
        rows = numbers == number
        base = features.forces[:, rows].reshape(len(features.models), -1)  # (M, 3 rows)
        error = base.T @ weights[:, element].T - reference[rows].reshape(-1, 1)  # (3 rows, S)
        squared[rows] = (error**2).reshape(-1, 3, len(weights)).mean(axis=1)
    starts = np.concatenate([[0], np.cumsum(features.n_atoms)[:-1]])
    return np.asarray(np.sqrt(np.add.reduceat(squared, starts) / features.n_atoms[:, None]).sum(axis=0))


def least_squares_errors(subsets: Sequence[Subset], features: Mapping[str, Features]) -> list[SubsetErrors]:
    """Compute the errors of the linear combination of every subset, fitted on training structures."""
    started = time.perf_counter()
    equations = NormalEquations.of(features["train"])
    weights = subset_weights(equations, membership(subsets, features["train"].models))
    errors = {
        split: errors_of_combinations(values, equations.atomic_numbers, weights)
        for split, values in evaluated_splits(features).items()
    }
    seconds = (time.perf_counter() - started) / len(subsets)
    return [
        SubsetErrors(
            subset, "least-squares", {split: float(values[index]) for split, values in errors.items()}, seconds
        )
        for index, subset in enumerate(subsets)
    ]


def empty_errors(features: Mapping[str, Features]) -> dict[str, float]:
    """Compute the errors of the empty subset, whose forces are zero."""
    return {
        split: mean_rmse_per_frame(np.zeros_like(values.reference_forces), values)
        for split, values in evaluated_splits(features).items()
    }
