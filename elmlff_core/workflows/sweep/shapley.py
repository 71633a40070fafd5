"""Shapley values: contribution of each base model, averaged over all orders of adding them (Shapley, 1953)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

from elmlff_core.workflows.sweep.subsets import Subset, all_subsets


@dataclass(frozen=True)
class ShapleyValue:
    """Contribution of one base model, in units of the error.

    The value of a subset is minus its error; the value of the empty subset is minus the error of zero forces.  The
    contributions of all base models sum to the error of zero forces minus the error of all base models together.

    Attributes
    ----------
    value : ``alone`` + ``joining``
    alone : contribution of orders in which the base model is first, 1/M of its improvement over zero forces
    joining : contribution of orders in which it joins others, negative if it increases the error on average
    """

    value: float
    alone: float
    joining: float


def shapley_values(errors: Mapping[Subset, float], empty: float, models: Sequence[str]) -> dict[str, ShapleyValue]:
    """Compute the Shapley value of each of `models`.

    Parameters
    ----------
    errors : error of every subset except the empty one, with its models in the order of `models`
    empty : error of the empty subset
    models : names of the base models

    Raises
    ------
    KeyError
        The error of a subset is missing.
    """
    known = {frozenset(subset): errors[subset] for subset in all_subsets(models)} | {frozenset(): empty}
    n_models = len(models)
    found = {}
    for name in models:
        alone = joining = 0.0
        for others, error in known.items():
            if name in others:
                continue
            weight = 1.0 / (n_models * comb(n_models - 1, len(others)))
            gain = weight * (error - known[others | {name}])
            if others:
                joining += gain
            else:
                alone = gain
        found[name] = ShapleyValue(alone + joining, alone, joining)
    return found
