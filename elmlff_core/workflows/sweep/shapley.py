"""Shapley values: what each base brings, averaged over every order in which bases could join (Shapley, 1953)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

from elmlff_core.workflows.sweep.subsets import Subset, all_subsets


@dataclass(frozen=True)
class ShapleyValue:
    """What one base brings, in units of the error.

    The value of a subset is minus its error; that of the empty subset, least squares of nothing, is minus the error of
    zero forces.  The values of all bases sum to the error of zero forces less the error of all bases together.

    Attributes
    ----------
    value : ``alone`` + ``joining``
    alone : the part of orders in which the base comes first: 1/M of what it gains over zero forces
    joining : the part of orders in which it joins at least one other; below zero where it harms more than it helps
    """

    value: float
    alone: float
    joining: float


def shapley_values(errors: Mapping[Subset, float], empty: float, models: Sequence[str]) -> dict[str, ShapleyValue]:
    """Shapley value of each of `models`.

    Parameters
    ----------
    errors : of every subset but the empty one, its models in the order of `models`
    empty : error of the empty subset
    models : names of the bases

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
