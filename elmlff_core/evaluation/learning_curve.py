"""Learning curves over the number of training structures: would more of them lower the error?

The base models stay the same, so that a curve is about the meta-model alone.  The linear combination is fitted to parts
of the training structures in closed form, at little cost; a trained meta-model is fitted anew only on request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from elmlff_core.contracts.features import Features
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.features.metrics import mean_rmse_per_frame

N_PARTS = 8
FRACTIONS = (8, 4, 2, 1)  # denominators: an eighth, a quarter, half and all of the training structures


@dataclass(frozen=True)
class LearningPoint:
    """Errors of a meta-model fitted to some of the training structures.

    Attributes
    ----------
    n_structures : number of training structures, the mean if there are several fits
    n_fits : number of fits, to parts without common structures, over which errors are averaged
    valid, test : force RMSE per frame, eV/Å
    """

    n_structures: int
    n_fits: int
    valid: float
    test: float


@dataclass(frozen=True)
class LearningCurve:
    """Errors of the meta-model `name` over the number of training structures, smallest first."""

    name: str
    points: tuple[LearningPoint, ...]


def parts_of(n_structures: int) -> list[np.ndarray]:
    """Return eight parts of equal size of the training structures, chosen at random but always the same ones."""
    return np.array_split(np.random.default_rng(0).permutation(n_structures), N_PARTS)


def joined(parts: list[np.ndarray], denominator: int) -> list[np.ndarray]:
    """Return fractions of the training structures, ``1 / denominator`` each, as sorted indices."""
    size = N_PARTS // denominator
    return [np.sort(np.concatenate(parts[start : start + size])) for start in range(0, N_PARTS, size)]


def with_all_elements(train: Features, denominator: int) -> Iterator[Features]:
    """Yield the fractions of `train`, ``1 / denominator`` each, that have all of its elements, one in memory at a time.

    A meta-model that is fitted to another part knows nothing of the element that is missing.
    """
    for index in joined(parts_of(len(train)), denominator):
        part = train if denominator == 1 else train.subset(index)
        if len(part.elements) == len(train.elements):
            yield part


def linear_learning_curve(features: Mapping[str, Features], name: str = "linear combination") -> LearningCurve | None:
    """Return the learning curve of the linear combination; None if there are too few training structures.

    Each part of the training structures gives one fit, and a point is the mean over the fits of one size.  A part
    without atoms of an element has no weights for it and is left out.

    Parameters
    ----------
    features : features of the splits ``train``, ``valid`` and ``test``, with reference labels
    name : name of the curve
    """
    train = features["train"]
    if len(train) < N_PARTS or not train.models:
        return None
    points = []
    for denominator in FRACTIONS:
        found = []
        for part in with_all_elements(train, denominator):
            combination = LinearCombination.fit(part)
            errors = [mean_rmse_per_frame(combination.apply(features[s]), features[s]) for s in ("valid", "test")]
            found.append((len(part), *errors))
        if found:
            size, valid, test = np.mean(found, axis=0)
            points.append(LearningPoint(round(size), len(found), float(valid), float(test)))
    return LearningCurve(name, tuple(points))
