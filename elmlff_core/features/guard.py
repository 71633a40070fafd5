"""The guard: no base model moves a stack further than it did on the training structures.

A universal force field may be right on most structures and wrong by tens of eV/Å where it knows nothing.  A stack that
weights its forces then follows it, however small the weight.  The guard bounds this influence.  It compares each base
force with a robust centre of all base models, the weighted geometric median (Weiszfeld, 1937), and where it is further
away than the limit of its base model, it is pulled back to the limit in the same direction.  This is winsorising of
vectors.  It keeps rotations: centre and forces rotate together.

The centre prefers base models with small errors in training, and, of forces that disagree, the smaller ones: a base
model that explodes has huge forces.  With three or more base models no single one has half of the weight, so none can
move the centre far; with two, the larger force loses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from elmlff_core.arrays import new_array
from elmlff_core.contracts.features import Features
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.features.metrics import force_metrics

ITERATIONS = 20
SMOOTHING = 1e-3  # eV/Å, below which distances to the centre do not count as different
# Quantiles of the deviations on training structures that are tried as limits.  The first leaves all training forces as
# they are, and gets a margin, because others of their kind may deviate a little more.
MARGIN = 1.5
LARGEST_WEIGHT = 0.45  # of a base model in the centre
LEVELS = (1.0, 0.99, 0.97, 0.95, 0.9)
N_FOLDS = 5
MOST_ROWS = 50_000  # atoms from which the guard is fitted; more take time and change nothing


@dataclass(frozen=True)
class Guard:
    """Limits of the base models, in the order of the features.

    Attributes
    ----------
    weights : (n_models,) float64, of the base models in the centre, sum one
    limits : (n_models,) float64, eV/Å, largest distance from the centre
    usual : root mean square of the reference forces in training, eV/Å
    """

    weights: np.ndarray
    limits: np.ndarray
    usual: float = 1.0

    @classmethod
    def fit(cls, train: Features, cost: float = 0.005) -> Guard:
        """Fit the weights and limits to training structures with labels.

        The limits are quantiles of the distances of base models from the centre, of a common level: the lowest that
        raises the error of the linear combination in cross-validation over structures by no more than the fraction
        `cost`.  With a negative `cost` it has to lower the error by as much, or all training forces stay as they are.

        With fewer than two base models there is nothing to compare, and the limits are infinite.
        """
        n_models = len(train.models)
        if n_models < 2:
            return cls(np.ones(n_models), np.full(n_models, np.inf))
        train = train.sample(MOST_ROWS, 2 * N_FOLDS)
        weights, usual = weights_of(train), usual_force(train)
        distances = np.linalg.norm(train.forces - centre(train.forces, weights, usual), axis=2)  # (M, N)
        guards = [cls(weights, np.quantile(distances, level, axis=1), usual) for level in LEVELS]
        guards[0] = replace(guards[0], limits=MARGIN * guards[0].limits)
        errors = np.array([_validated(guard, train) for guard in guards])
        cheap = np.flatnonzero(errors <= (1 + cost) * errors[0])
        return guards[int(cheap[-1]) if len(cheap) else 0]

    def apply(self, features: Features) -> Features:
        """Return `features` with the forces of the base models inside their limits."""
        if len(features.models) < 2:
            return features
        guarded = new_array(features.forces.shape)
        for rows, block in features.blocks():
            guarded[:, rows] = self.bounded(block.forces)
        return replace(features, forces=guarded)

    def bounded(self, forces: np.ndarray) -> np.ndarray:
        """Return `forces` (n_models, n_rows, 3), eV/Å, inside the limits."""
        # The centre lies between the forces, so those that are close together are all inside the limits.
        widest = np.linalg.norm(np.ptp(forces, axis=0), axis=1)  # (N,), at least the largest distance of two forces
        rows = np.flatnonzero(widest > self.limits.min())
        if not len(rows):
            return forces
        bounded = forces.copy()
        middle = centre(forces[:, rows], self.weights, self.usual)
        bounded[:, rows] = _pulled(forces[:, rows], middle, self.limits)
        return bounded

    def tensors(self) -> dict[str, np.ndarray]:
        """Return arrays by name, from which `from_tensors` makes an equal guard."""
        return {"guard.weights": self.weights, "guard.limits": self.limits, "guard.usual": np.array([self.usual])}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> Guard | None:
        """Make a guard from the arrays that `tensors` returned; None if they have none."""
        if "guard.weights" not in tensors:
            return None
        return cls(tensors["guard.weights"], tensors["guard.limits"], float(tensors["guard.usual"][0]))


def weights_of(train: Features) -> np.ndarray:
    """Return the weights of the base models in the centre: (n_models,), sum one.

    They are by the inverse square of the median error, and with three or more base models less than a half each.
    """
    errors = np.array([np.median(np.linalg.norm(forces - train.reference_forces, axis=1)) for forces in train.forces])
    weights = 1.0 / np.maximum(errors, SMOOTHING) ** 2
    if len(weights) > 2:
        best = int(np.argmax(weights))
        others = weights.sum() - weights[best]
        weights[best] = min(weights[best], others * LARGEST_WEIGHT / (1 - LARGEST_WEIGHT))
    return weights / weights.sum() if len(weights) else weights


def usual_force(train: Features) -> float:
    """Return the root mean square of the reference forces, eV/Å; one if they are all zero."""
    return float(np.sqrt(np.square(train.reference_forces).sum(axis=1).mean())) or 1.0


def centre(forces: np.ndarray, weights: np.ndarray, usual: float) -> np.ndarray:
    """Return the weighted geometric median of the base forces on each atom: (n_rows, 3), eV/Å.

    It minimises the weighted sum of the distances to the base forces, with weights ``w / (1 + |F|² / usual²)``.  It is
    continuous in the forces, rotates with them, and is hardly moved by base models with less than half of the weight,
    however far away they are.

    Parameters
    ----------
    forces : (n_models, n_rows, 3), eV/Å
    weights : (n_models,), sum one
    usual : eV/Å, above which a force counts less
    """
    preferred = weights[:, None] / (1.0 + np.square(forces).sum(axis=2) / usual**2)  # (M, N)
    middle = np.einsum("mn,mnx->nx", preferred / preferred.sum(axis=0), forces)
    for _ in range(ITERATIONS):
        distances = np.sqrt(((forces - middle) ** 2).sum(axis=2) + SMOOTHING**2)  # (M, N)
        shares = preferred / distances
        middle = np.einsum("mn,mnx->nx", shares / shares.sum(axis=0), forces)
    return np.asarray(middle)


def _pulled(forces: np.ndarray, middle: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Return `forces` (M, N, 3) no further from `middle` (N, 3) than `limits` (M,); those inside are not rounded."""
    deviations = forces - middle
    lengths = np.linalg.norm(deviations, axis=2, keepdims=True)
    allowed = limits[:, None, None]
    return np.where(lengths > allowed, middle + deviations * (allowed / np.maximum(lengths, SMOOTHING)), forces)


def _validated(guard: Guard, train: Features) -> float:
    """Return the error of the linear combination of guarded forces in cross-validation: RMSE per frame, eV/Å."""
    guarded = guard.apply(train)
    places, errors = np.arange(len(train)), []
    for fold in range(min(N_FOLDS, len(train) // 2)):
        held_out = places[fold::N_FOLDS]
        rest = guarded.subset(np.setdiff1d(places, held_out))
        known = train.of_known_elements(rest, held_out)
        if len(known):
            tested = guarded.subset(known)
            found = LinearCombination.fit(rest).apply(tested)
            errors.append(force_metrics(found, tested.reference_forces, tested.n_atoms).rmse_per_frame)
    return float(np.mean(errors)) if errors else 0.0
