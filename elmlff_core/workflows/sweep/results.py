"""Results of a sweep: errors, sizes, costs, Shapley values and agreement of methods, as plain data and in words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from elmlff_core.workflows.sweep.shapley import ShapleyValue, shapley_values
from elmlff_core.workflows.sweep.subset_errors import SubsetErrors
from elmlff_core.workflows.sweep.subsets import Subset

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Agreement:
    """Agreement of two methods in the ranking of their common subsets.

    Attributes
    ----------
    methods : names of the methods
    n_subsets : number of common subsets
    spearman : split -> rank correlation, None for fewer than three subsets or if all errors of a method are equal
    """

    methods: tuple[str, str]
    n_subsets: int
    spearman: dict[str, float | None]


@dataclass(frozen=True)
class SizeErrors:
    """Errors of subsets of one size, eV/Å.

    Attributes
    ----------
    size : number of base models
    n_subsets : number of subsets that were evaluated
    best : subset with the lowest validation error
    valid, test : validation and test error of `best`
    mean_valid, mean_test : mean errors over all subsets of this size
    """

    size: int
    n_subsets: int
    best: Subset
    valid: float
    test: float
    mean_valid: float
    mean_test: float


@dataclass(frozen=True)
class Choice:
    """A subset with its errors in eV/Å, and its cost in seconds per structure."""

    subset: Subset
    valid: float
    test: float
    cost: float


@dataclass(frozen=True)
class MethodResults:
    """Results of one method.

    Attributes
    ----------
    method : name of the method
    n_subsets : number of subsets that were evaluated
    seconds : total time
    recommended : subset with the lowest validation error
    all_models : subset of all base models, None if it was not evaluated
    lowest_test : subset with the lowest test error; it was selected on test structures, so this error is too optimistic
    sizes : errors by number of base models
    pareto : subsets for which no other subset is both cheaper and better on validation, cheap ones first
    shapley : split -> base model -> Shapley value; empty if a subset was not evaluated
    """

    method: str
    n_subsets: int
    seconds: float
    recommended: Choice
    all_models: Choice | None
    lowest_test: Choice
    sizes: list[SizeErrors]
    pareto: list[Choice]
    shapley: dict[str, dict[str, ShapleyValue]]

    @property
    def best_size(self) -> int:
        """Number of base models of the recommended subset."""
        return len(self.recommended.subset)


@dataclass(frozen=True)
class Sweep:
    """Results of a sweep.

    Attributes
    ----------
    base_models : names of the base models
    meta : name of the meta-model of the methods ``per-subset`` and ``masked``
    entries : errors of every subset by every method
    empty : split -> error of zero forces, the empty subset, eV/Å
    costs : base model -> seconds per structure, measured on this machine
    notes : notes for the reader
    """

    base_models: tuple[str, ...]
    meta: str
    entries: list[SubsetErrors]
    empty: dict[str, float]
    costs: dict[str, float]
    notes: list[str] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        """Names of the methods, in the order of the entries."""
        return list(dict.fromkeys(entry.method for entry in self.entries))

    def of(self, method: str) -> list[SubsetErrors]:
        """Return the errors of all subsets by one method."""
        return [entry for entry in self.entries if entry.method == method]

    def cost(self, subset: Subset) -> float:
        """Return the seconds per structure of all base models of `subset`, one after the other."""
        return sum(self.costs[name] for name in subset)

    def of_method(self, method: str) -> MethodResults:
        """Return the results of `method`."""
        entries = self.of(method)
        choices = [
            Choice(entry.subset, entry.errors["valid"], entry.errors["test"], self.cost(entry.subset))
            for entry in entries
        ]
        return MethodResults(
            method=method,
            n_subsets=len(entries),
            seconds=sum(entry.seconds for entry in entries),
            recommended=min(choices, key=lambda choice: choice.valid),
            all_models=next((choice for choice in choices if len(choice.subset) == len(self.base_models)), None),
            lowest_test=min(choices, key=lambda choice: choice.test),
            sizes=list(_sizes(choices)),
            pareto=pareto_front(choices),
            shapley=self._shapley(entries),
        )

    def agreements(self) -> list[Agreement]:
        """Return the agreement of each pair of methods."""
        return [agreement(self.of(first), self.of(second)) for first, second in itertools.combinations(self.methods, 2)]

    def as_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "format_version": FORMAT_VERSION,
            "units": {"errors": "eV/Å, RMSE per frame", "costs": "s per structure", "seconds": "s"},
            "base_models": list(self.base_models),
            "meta": self.meta,
            "notes": self.notes,
            "empty": self.empty,
            "costs": self.costs,
            "methods": {
                method: asdict(summary) | {"best_size": summary.best_size}
                for method, summary in self._results_by_method()
            },
            "agreement": [asdict(found) for found in self.agreements()],
            "entries": [entry.as_record() for entry in self.entries],
        }

    def _results_by_method(self) -> Iterator[tuple[str, MethodResults]]:
        return ((method, self.of_method(method)) for method in self.methods)

    def _shapley(self, entries: Sequence[SubsetErrors]) -> dict[str, dict[str, ShapleyValue]]:
        if len(entries) < 2 ** len(self.base_models) - 1:
            return {}
        return {
            split: shapley_values(
                {entry.subset: entry.errors[split] for entry in entries}, self.empty[split], self.base_models
            )
            for split in ("valid", "test")
        }


def _sizes(choices: Sequence[Choice]) -> Iterator[SizeErrors]:
    for size in sorted({len(choice.subset) for choice in choices}):
        group = [choice for choice in choices if len(choice.subset) == size]
        best = min(group, key=lambda choice: choice.valid)
        mean_valid, mean_test = (math.fsum(values) / len(group) for values in zip(*_errors(group), strict=True))
        yield SizeErrors(size, len(group), best.subset, best.valid, best.test, mean_valid, mean_test)


def _errors(choices: Sequence[Choice]) -> Iterator[tuple[float, float]]:
    return ((choice.valid, choice.test) for choice in choices)


def pareto_front(choices: Sequence[Choice]) -> list[Choice]:
    """Return the choices for which no other is both cheaper and better on validation, cheap ones first."""
    front: list[Choice] = []
    for choice in sorted(choices, key=lambda choice: (choice.cost, choice.valid)):
        if not front or choice.valid < front[-1].valid:
            front.append(choice)
    return front


def agreement(first: Sequence[SubsetErrors], second: Sequence[SubsetErrors]) -> Agreement:
    """Compute the rank correlation of two methods over their common subsets."""
    other = {entry.subset: entry for entry in second}
    common = [(entry, other[entry.subset]) for entry in first if entry.subset in other]
    found = {
        split: spearman([left.errors[split] for left, _ in common], [right.errors[split] for _, right in common])
        for split in ("valid", "test")
    }
    return Agreement((first[0].method, second[0].method), len(common), found)


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation; None for fewer than three pairs or if one sequence is constant."""
    from scipy.stats import spearmanr  # slow to import

    if len(first) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return float(spearmanr(first, second).statistic)


def summary(sweep: Sweep, method: str) -> str:
    """Return the recommendation of one method in words."""
    found = sweep.of_method(method)
    best, everything = found.recommended, found.all_models
    text = (
        f"{method}: {'+'.join(best.subset)} is best on validation ({best.valid:.4f} eV/Å; test {best.test:.4f}) "
        f"of {found.n_subsets} subsets"
    )
    if everything is None:
        return text + "."
    if everything.subset == best.subset:
        return text + "; this is the subset of all base models."
    return text + f"; all base models together reach {everything.valid:.4f} (test {everything.test:.4f})."
