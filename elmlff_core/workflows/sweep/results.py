"""What a sweep found: agreement of methods, sizes, costs, and what each base model is worth."""

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
    """How alike two methods rank the subsets that both know.

    Attributes
    ----------
    methods : their names
    n_subsets : how many both know
    spearman : split -> rank correlation, None for fewer than three subsets or where all errors of a method are equal
    """

    methods: tuple[str, str]
    n_subsets: int
    spearman: dict[str, float | None]


@dataclass(frozen=True)
class SizeErrors:
    """Errors of ensembles of one size, eV/Å.

    Attributes
    ----------
    size : number of base models
    n_subsets : how many were evaluated
    best : the one with the lowest error on validation
    valid, test : its errors
    mean_valid, mean_test : over all of that size
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
    """What one method says.

    Attributes
    ----------
    method : its name
    n_subsets : evaluated
    seconds : all of it took
    recommended : lowest error on validation
    all_models : the ensemble of all, None where it was not evaluated
    lowest_test : by hindsight: its test error was selected on the test structures and is too low
    sizes : by number of base models
    pareto : no other subset is both cheaper and better on validation; cheap ones first
    shapley : split -> base model -> value; empty where a subset is missing
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
        """The size with the lowest error on validation."""
        return len(self.recommended.subset)


@dataclass(frozen=True)
class Sweep:
    """Everything a sweep found.

    Attributes
    ----------
    base_models : their names
    meta : the meta-model of the methods ``per-subset`` and ``masked``
    entries : errors of every subset by every method
    empty : split -> error of zero forces, the empty subset, eV/Å
    costs : base model -> seconds per structure, as it runs here
    notes : what a reader should know
    """

    base_models: tuple[str, ...]
    meta: str
    entries: list[SubsetErrors]
    empty: dict[str, float]
    costs: dict[str, float]
    notes: list[str] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        """In the order in which the entries stand."""
        return list(dict.fromkeys(entry.method for entry in self.entries))

    def of(self, method: str) -> list[SubsetErrors]:
        """The entries of one method."""
        return [entry for entry in self.entries if entry.method == method]

    def cost(self, subset: Subset) -> float:
        """Seconds per structure of all base models of `subset`, one after the other."""
        return sum(self.costs[name] for name in subset)

    def of_method(self, method: str) -> MethodResults:
        """What `method` says."""
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
        """Of every two methods."""
        return [agreement(self.of(first), self.of(second)) for first, second in itertools.combinations(self.methods, 2)]

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON."""
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
    """Those that no other is both cheaper than and better than on validation, cheap ones first."""
    front: list[Choice] = []
    for choice in sorted(choices, key=lambda choice: (choice.cost, choice.valid)):
        if not front or choice.valid < front[-1].valid:
            front.append(choice)
    return front


def agreement(first: Sequence[SubsetErrors], second: Sequence[SubsetErrors]) -> Agreement:
    """Rank correlation of two methods over the subsets that both know."""
    other = {entry.subset: entry for entry in second}
    common = [(entry, other[entry.subset]) for entry in first if entry.subset in other]
    found = {
        split: spearman([left.errors[split] for left, _ in common], [right.errors[split] for _, right in common])
        for split in ("valid", "test")
    }
    return Agreement((first[0].method, second[0].method), len(common), found)


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs, or where one of them is constant."""
    from scipy.stats import spearmanr  # slow to import: not before it is needed

    if len(first) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return float(spearmanr(first, second).statistic)


def summary(sweep: Sweep, method: str) -> str:
    """What one method recommends, in words."""
    found = sweep.of_method(method)
    best, everything = found.recommended, found.all_models
    text = (
        f"{method}: {'+'.join(best.subset)} is best on validation ({best.valid:.4f} eV/Å; test {best.test:.4f}) "
        f"of {found.n_subsets} subsets"
    )
    if everything is None or everything.subset == best.subset:
        return text + ("." if everything is None else ", which is all base models.")
    return text + f"; all base models {everything.valid:.4f} (test {everything.test:.4f})."
