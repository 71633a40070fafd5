"""What the entries of a sweep say: agreement of ways, sizes, costs, and the worth of each base."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from elmlff_core.workflows.sweep.shapley import ShapleyValue, shapley_values
from elmlff_core.workflows.sweep.subset_errors import Entry
from elmlff_core.workflows.sweep.subsets import Subset

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Agreement:
    """How alike two ways rank the subsets that both know.

    Attributes
    ----------
    ways : their names
    n_subsets : how many both know
    spearman : part -> rank correlation, None for fewer than three subsets or where all errors of a way are equal
    """

    ways: tuple[str, str]
    n_subsets: int
    spearman: dict[str, float | None]


@dataclass(frozen=True)
class SizeErrors:
    """Errors of ensembles of one size, eV/Å.

    Attributes
    ----------
    size : number of bases
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
class WaySummary:
    """What one way says.

    Attributes
    ----------
    way : its name
    n_subsets : evaluated
    seconds : all of it took
    recommended : lowest error on validation
    all_bases : the ensemble of all, None where it was not evaluated
    lowest_test : by hindsight: its test error was selected on the test structures and is too low
    sizes : by number of bases
    pareto : no other subset is both cheaper and better on validation; cheap ones first
    shapley : part -> base -> value; empty where a subset is missing
    """

    way: str
    n_subsets: int
    seconds: float
    recommended: Choice
    all_bases: Choice | None
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
    models : names of the bases
    meta : the meta-model of the ways ``each`` and ``amortised``
    entries : errors of every subset by every way
    empty : part -> error of zero forces, the empty subset, eV/Å
    costs : base -> seconds per structure, as it runs here
    notes : what a reader should know
    """

    models: tuple[str, ...]
    meta: str
    entries: list[Entry]
    empty: dict[str, float]
    costs: dict[str, float]
    notes: list[str] = field(default_factory=list)

    @property
    def ways(self) -> list[str]:
        """In the order in which the entries stand."""
        return list(dict.fromkeys(entry.way for entry in self.entries))

    def of(self, way: str) -> list[Entry]:
        """The entries of one way."""
        return [entry for entry in self.entries if entry.way == way]

    def cost(self, subset: Subset) -> float:
        """Seconds per structure of all bases of `subset`, one after the other."""
        return sum(self.costs[name] for name in subset)

    def summary(self, way: str) -> WaySummary:
        """What `way` says."""
        entries = self.of(way)
        choices = [
            Choice(entry.subset, entry.errors["valid"], entry.errors["test"], self.cost(entry.subset))
            for entry in entries
        ]
        return WaySummary(
            way=way,
            n_subsets=len(entries),
            seconds=sum(entry.seconds for entry in entries),
            recommended=min(choices, key=lambda choice: choice.valid),
            all_bases=next((choice for choice in choices if len(choice.subset) == len(self.models)), None),
            lowest_test=min(choices, key=lambda choice: choice.test),
            sizes=list(_sizes(choices)),
            pareto=pareto_front(choices),
            shapley=self._shapley(entries),
        )

    def agreements(self) -> list[Agreement]:
        """Of every two ways."""
        return [agreement(self.of(first), self.of(second)) for first, second in itertools.combinations(self.ways, 2)]

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "format_version": FORMAT_VERSION,
            "units": {"errors": "eV/Å, RMSE per frame", "costs": "s per structure", "seconds": "s"},
            "models": list(self.models),
            "meta": self.meta,
            "notes": self.notes,
            "empty": self.empty,
            "costs": self.costs,
            "ways": {way: asdict(summary) | {"best_size": summary.best_size} for way, summary in self._summaries()},
            "agreement": [asdict(found) for found in self.agreements()],
            "entries": [entry.as_record() for entry in self.entries],
        }

    def _summaries(self) -> Iterator[tuple[str, WaySummary]]:
        return ((way, self.summary(way)) for way in self.ways)

    def _shapley(self, entries: Sequence[Entry]) -> dict[str, dict[str, ShapleyValue]]:
        if len(entries) < 2 ** len(self.models) - 1:
            return {}
        return {
            part: shapley_values({entry.subset: entry.errors[part] for entry in entries}, self.empty[part], self.models)
            for part in ("valid", "test")
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


def agreement(first: Sequence[Entry], second: Sequence[Entry]) -> Agreement:
    """Rank correlation of two ways over the subsets that both know."""
    other = {entry.subset: entry for entry in second}
    common = [(entry, other[entry.subset]) for entry in first if entry.subset in other]
    found = {
        part: spearman([left.errors[part] for left, _ in common], [right.errors[part] for _, right in common])
        for part in ("valid", "test")
    }
    return Agreement((first[0].way, second[0].way), len(common), found)


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs, or where one of them is constant."""
    from scipy.stats import spearmanr  # slow to import: not before it is needed

    if len(first) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return float(spearmanr(first, second).statistic)


def verdict(sweep: Sweep, way: str) -> str:
    """What one way recommends, in words."""
    found = sweep.summary(way)
    best, everything = found.recommended, found.all_bases
    text = (
        f"{way}: {'+'.join(best.subset)} is best on validation ({best.valid:.4f} eV/Å; test {best.test:.4f}) "
        f"of {found.n_subsets} subsets"
    )
    if everything is None or everything.subset == best.subset:
        return text + ("." if everything is None else ", which is all bases.")
    return text + f"; all bases {everything.valid:.4f} (test {everything.test:.4f})."
