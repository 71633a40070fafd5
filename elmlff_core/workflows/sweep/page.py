"""The page of a sweep: what is recommended, and the pictures and tables it follows from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from elmlff_core.report.heat_map import heat_map
from elmlff_core.report.page import Block, Listing, Page, Picture, Section, Table, Text
from elmlff_core.workflows.sweep.results import Choice, Sweep, WaySummary, verdict

WAYS = {
    "each": "the meta-model {meta} fitted for each subset alone",
    "amortised": "one meta-model {meta} for all subsets, trained with bases masked at random",
    "linear": "least squares per element for each subset, in closed form",
}


@dataclass(frozen=True)
class SweepResults:
    """What the page of a sweep is made of.

    Attributes
    ----------
    sweep : what was found
    subtitle : of the page
    pictures : ``heat_map``, ``sizes``, ``costs`` and, where every subset is known, ``shapley`` -> PNG
    settings : as TOML
    versions : package -> version
    """

    sweep: Sweep
    subtitle: str
    pictures: Mapping[str, bytes]
    settings: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def sweep_page(results: SweepResults) -> Page:
    """The page of a sweep."""
    sweep = results.sweep
    summaries = [sweep.summary(way) for way in sweep.ways]
    settings = [Listing(results.settings)] if results.settings else []
    versions = [Table(("package", "version"), list(results.versions.items()), text_columns=2)]
    sections = [
        Section("What is recommended", list(_opening(sweep, summaries))),
        Section("All subsets", [heat_map(sweep), _picture(results, "heat_map", "The same in one scale for all ways.")]),
        Section("Number of bases", list(_size_blocks(results, summaries))),
        Section("Accuracy and cost", list(_cost_blocks(results, summaries))),
        Section("What each base brings", list(_shapley_blocks(results, summaries))),
        Section("Agreement of the ways", list(_agreement_blocks(sweep))),
        Section("Table", [subset_table(sweep)]),
        Section("Settings", settings),
        Section("Versions", versions if results.versions else []),
    ]
    title = f"Subsets of {', '.join(sweep.models)}"
    return Page(title, results.subtitle, [section for section in sections if section.blocks])


def _opening(sweep: Sweep, summaries: Sequence[WaySummary]) -> Iterator[Block]:
    for way in sweep.ways:
        yield Text(verdict(sweep, way), key=True)
    for note in sweep.notes:
        yield Text(note)
    body = []
    for found in summaries:
        for title, choice in (
            ("recommended: lowest on validation", found.recommended),
            ("all bases", found.all_bases),
            ("by hindsight: lowest on test", found.lowest_test),
        ):
            if choice is not None:
                body.append([found.way, title, *_cells(choice)])
    head = ("way", "choice", "bases", "validation", "test", "ms per structure")
    keys = [place for place, row in enumerate(body) if row[1].startswith("recommended")]
    yield Table(head, body, "Force RMSE per frame in eV/Å.", text_columns=3, key_rows=keys)
    body = [
        [found.way, WAYS[found.way].format(meta=sweep.meta), str(found.n_subsets), f"{found.seconds:,.1f}"]
        for found in summaries
    ]
    yield Table(("way", "what it is", "subsets", "seconds in all"), body, "The ways.", text_columns=2)


def _cells(choice: Choice) -> list[str]:
    return ["+".join(choice.subset), f"{choice.valid:.4f}", f"{choice.test:.4f}", f"{1000 * choice.cost:.3g}"]


def _picture(results: SweepResults, name: str, caption: str) -> Picture:
    return Picture(results.pictures[name], caption, caption)


def _size_blocks(results: SweepResults, summaries: Sequence[WaySummary]) -> Iterator[Block]:
    n_models = len(results.sweep.models)
    for found in summaries:
        yield Text(f"{found.way}: the error on validation is lowest with {found.best_size} of {n_models} bases.")
    yield _picture(results, "sizes", "Errors by number of bases; the best of a size is that on validation.")
    body = [
        [
            found.way, str(entry.size), str(entry.n_subsets), "+".join(entry.best),
            *(f"{value:.4f}" for value in (entry.valid, entry.test, entry.mean_valid, entry.mean_test)),
        ]
        for found in summaries
        for entry in found.sizes
    ]  # fmt: skip
    head = ("way", "bases", "subsets", "best", "its validation", "its test", "mean validation", "mean test")
    yield Table(head, body, "Force RMSE per frame in eV/Å, best on validation and mean of each size.")


def _cost_blocks(results: SweepResults, summaries: Sequence[WaySummary]) -> Iterator[Block]:
    sweep = results.sweep
    yield Text(
        "Cost is the time the bases take, one after the other, on the machine of the sweep; that of the meta-model is "
        "not in it. No other subset is both cheaper than one on the front and better on validation."
    )
    body = [[name, f"{1000 * seconds:.3g}"] for name, seconds in sweep.costs.items()]
    yield Table(("base", "ms per structure"), body)
    yield _picture(results, "costs", "Errors on validation against cost, and the front, numbered as in the table.")
    body = [
        [found.way, str(number), *_cells(choice)]
        for found in summaries
        for number, choice in enumerate(found.pareto, start=1)
    ]
    head = ("way", "number", "bases", "validation", "test", "ms per structure")
    yield Table(head, body, "The front, force RMSE per frame in eV/Å.", text_columns=3)


def _shapley_blocks(results: SweepResults, summaries: Sequence[WaySummary]) -> Iterator[Block]:
    known = [found for found in summaries if found.shapley]
    if not known:
        return
    empty = results.sweep.empty
    yield Text(
        "The Shapley value of a base is what it takes off the error when it joins, averaged over every order in which "
        "bases can join. The empty ensemble, least squares of nothing, predicts zero forces, with an error of "
        f"{empty['valid']:.4f} eV/Å on validation and {empty['test']:.4f} on test structures; the values of all bases "
        "sum to what is left of that by all of them. Whoever comes first takes most of it: what tells bases apart is "
        "the part of joining others, below zero for a base that harms more than it helps."
    )
    yield _picture(results, "shapley", "Shapley values on test structures.")
    body = [
        [
            found.way, name,
            *(f"{number:.5f}" for part in ("valid", "test") for number in _numbers(found, part, name)),
        ]
        for found in known
        for name in results.sweep.models
    ]  # fmt: skip
    head = ["way", "base", *(f"{part}\n{what}" for part in ("validation", "test") for what in ("value", "joining"))]
    yield Table(head, body, "Shapley values in eV/Å.", text_columns=2)


def _numbers(found: WaySummary, part: str, name: str) -> tuple[float, float]:
    value = found.shapley[part][name]
    return value.value, value.joining


def _agreement_blocks(sweep: Sweep) -> Iterator[Block]:
    found = sweep.agreements()
    if not found:
        return
    body = [
        [
            f"{entry.ways[0]} and {entry.ways[1]}", str(entry.n_subsets),
            *("too few" if value is None else f"{value:.3f}" for value in entry.spearman.values()),
        ]
        for entry in found
    ]  # fmt: skip
    caption = (
        "Spearman's rank correlation of errors over the subsets that both ways know: 1 where they rank them alike. A "
        "quick way that ranks like `each` can stand in for it."
    )
    yield Table(("ways", "subsets", "validation", "test"), body, caption)


def subset_table(sweep: Sweep) -> Table:
    """Every subset with its errors by every way, best first on validation by the first way."""
    errors: dict[tuple[str, ...], dict[str, dict[str, float]]] = {}
    for entry in sweep.entries:
        errors.setdefault(entry.subset, {})[entry.way] = entry.errors
    first = sweep.ways[0]
    ranked = sorted(errors, key=lambda subset: errors[subset].get(first, {}).get("valid", float("inf")))
    body = []
    for subset in ranked:
        cells = ["+".join(subset), str(len(subset)), f"{1000 * sweep.cost(subset):.3g}"]
        for way in sweep.ways:
            found = errors[subset].get(way)
            cells += ["", ""] if found is None else [f"{found['valid']:.4f}", f"{found['test']:.4f}"]
        body.append(cells)
    head = ["bases", "number", "ms per\nstructure"]
    head += [f"{way}\n{part}" for way in sweep.ways for part in ("validation", "test")]
    return Table(head, body, f"Force RMSE per frame in eV/Å, ranked by validation of {first}.")
