"""What a sweep leaves: the page with what is recommended, its pictures, and the tables as CSV and JSON."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elmlff_core.files import write_json, write_text
from elmlff_core.report.heat_map import SubsetMap, heat_map, heat_map_svg
from elmlff_core.report.page import Block, Page, Picture, Section, Table, Text, write_page
from elmlff_core.report.provenance import provenance
from elmlff_core.settings.run_folder import CONFIG_FILE, RunFolder
from elmlff_core.workflows.sweep.results import Choice, MethodResults, Sweep, summary

METHODS = {
    "per-subset": "the meta-model {meta} fitted for each subset alone",
    "masked": "one meta-model {meta} for all subsets, trained with base models masked at random",
    "least-squares": "the linear combination per element of each subset, in closed form",
}
COLUMNS = ("subset", "size", "method", "test", "valid", "train", "seconds", "seconds_per_structure")


@dataclass(frozen=True)
class SweepReport:
    """What the page of a sweep is made of.

    Attributes
    ----------
    sweep : what was found
    subtitle : of the page
    pictures : ``sizes``, ``costs`` and, where every subset is known, ``shapley`` -> PNG
    settings : as TOML
    """

    sweep: Sweep
    subtitle: str
    pictures: Mapping[str, bytes]
    settings: str = ""


def write_results(sweep: Sweep, source: str, counts: Mapping[str, int], run: RunFolder) -> None:
    """Write everything; ``sweep.json`` comes last, and says that the rest is there.

    Parameters
    ----------
    sweep : what was found
    source : of the data
    counts : split -> number of structures
    run : where to write, with the settings

    Raises
    ------
    ElmlffError
        A file cannot be written.
    """
    pictures = draw(sweep, run.path)
    write_csv(sweep, run.path / "sweep.csv")
    subtitle = (
        f"{source}: {counts['train']} training, {counts['valid']} validation and {counts['test']} test structures. "
        f"Folder {run.path}."
    )
    settings = (run.path / CONFIG_FILE).read_text(encoding="utf-8")
    write_page(sweep_page(SweepReport(sweep, subtitle, pictures, settings)), run.path / "sweep.html")
    write_json(run.path / "sweep.json", sweep.as_record(), indent=1)


def draw(sweep: Sweep, folder: Path) -> dict[str, bytes]:
    """Write the pictures: PNG by name, which are returned, and a heat map as SVG for each method."""
    from elmlff_core.report.plots import as_png  # matplotlib, which nothing before needs
    from elmlff_core.workflows.sweep.plots import cost_plot, shapley_bars, size_curves

    results = [sweep.of_method(method) for method in sweep.methods]
    pictures = {"sizes": as_png(size_curves(results)), "costs": as_png(cost_plot(sweep, results))}
    if shapley := {found.method: found.shapley["test"] for found in results if found.shapley}:
        pictures["shapley"] = as_png(shapley_bars(shapley))
    (folder / "shapley.png").unlink(missing_ok=True)  # of a run that knew every subset
    for name, png in pictures.items():
        (folder / f"{name}.png").write_bytes(png)
    for method in sweep.methods:
        write_text(folder / f"heat_map-{method}.svg", heat_map_svg(subset_map(sweep), method, "test"))
    return pictures


def subset_map(sweep: Sweep) -> SubsetMap:
    """What the heat map of a sweep shows; the empty subset has the errors of zero forces."""
    errors: dict[tuple[str, ...], dict[str, dict[str, float]]] = {(): dict.fromkeys(sweep.methods, sweep.empty)}
    for entry in sweep.entries:
        errors.setdefault(entry.subset, {})[entry.method] = entry.errors
    return SubsetMap(sweep.base_models, sweep.methods, errors, sweep.costs)


def write_csv(sweep: Sweep, path: Path) -> None:
    """One line per subset and method; errors in eV/Å."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for entry in sweep.entries:
            errors = (f"{entry.errors[split]:.6g}" for split in ("test", "valid", "train"))
            name = "+".join(entry.subset)
            cost = f"{sweep.cost(entry.subset):.4g}"
            writer.writerow((name, len(entry.subset), entry.method, *errors, f"{entry.seconds:.4g}", cost))


def sweep_page(report: SweepReport) -> Page:
    """The page of a sweep."""
    sweep = report.sweep
    results = [sweep.of_method(method) for method in sweep.methods]
    sections = [
        Section("What is recommended", list(_opening(sweep, results))),
        Section("All subsets", [heat_map(subset_map(sweep))]),
        Section("Number of base models", list(_size_blocks(report, results))),
        Section("Accuracy and cost", list(_cost_blocks(report, results))),
        Section("What each base model brings", list(_shapley_blocks(report, results))),
        Section("Agreement of the methods", list(_agreement_blocks(sweep))),
        Section("Table", [subset_table(sweep)]),
        *(provenance(report.settings) if report.settings else []),
    ]
    title = f"Subsets of {', '.join(sweep.base_models)}"
    return Page(title, report.subtitle, [section for section in sections if section.blocks])


def _opening(sweep: Sweep, results: Sequence[MethodResults]) -> Iterator[Block]:
    for method in sweep.methods:
        yield Text(summary(sweep, method), key=True)
    for note in sweep.notes:
        yield Text(note)
    body = []
    for found in results:
        for title, choice in (
            ("recommended: lowest on validation", found.recommended),
            ("all base models", found.all_models),
            ("by hindsight: lowest on test", found.lowest_test),
        ):
            if choice is not None:
                body.append([found.method, title, *_cells(choice)])
    head = ("method", "choice", "base models", "validation", "test", "ms per structure")
    keys = [place for place, row in enumerate(body) if row[1].startswith("recommended")]
    yield Table(head, body, "Force RMSE per frame in eV/Å.", text_columns=3, key_rows=keys)
    body = [
        [found.method, METHODS[found.method].format(meta=sweep.meta), str(found.n_subsets), f"{found.seconds:,.1f}"]
        for found in results
    ]
    yield Table(("method", "what it is", "subsets", "seconds in all"), body, "The methods.", text_columns=2)


def _cells(choice: Choice) -> list[str]:
    return ["+".join(choice.subset), f"{choice.valid:.4f}", f"{choice.test:.4f}", f"{1000 * choice.cost:.3g}"]


def _picture(report: SweepReport, name: str, caption: str) -> Picture:
    return Picture(report.pictures[name], caption, caption)


def _size_blocks(report: SweepReport, results: Sequence[MethodResults]) -> Iterator[Block]:
    n_models = len(report.sweep.base_models)
    for found in results:
        yield Text(
            f"{found.method}: the error on validation is lowest with {found.best_size} of {n_models} base models."
        )
    yield _picture(report, "sizes", "Errors by number of base models; the best of a size is that on validation.")
    body = [
        [
            found.method, str(entry.size), str(entry.n_subsets), "+".join(entry.best),
            *(f"{value:.4f}" for value in (entry.valid, entry.test, entry.mean_valid, entry.mean_test)),
        ]
        for found in results
        for entry in found.sizes
    ]  # fmt: skip
    head = ("method", "base models", "subsets", "best", "its validation", "its test", "mean validation", "mean test")
    yield Table(head, body, "Force RMSE per frame in eV/Å, best on validation and mean of each size.")


def _cost_blocks(report: SweepReport, results: Sequence[MethodResults]) -> Iterator[Block]:
    sweep = report.sweep
    yield Text(
        "Cost is the time the base models take, one after the other, on the machine of the sweep; that of the "
        "meta-model is not in it. No other subset is both cheaper than one on the front and better on validation."
    )
    body = [[name, f"{1000 * seconds:.3g}"] for name, seconds in sweep.costs.items()]
    yield Table(("base model", "ms per structure"), body)
    yield _picture(report, "costs", "Errors on validation against cost, and the front, numbered as in the table.")
    body = [
        [found.method, str(number), *_cells(choice)]
        for found in results
        for number, choice in enumerate(found.pareto, start=1)
    ]
    head = ("method", "number", "base models", "validation", "test", "ms per structure")
    yield Table(head, body, "The front, force RMSE per frame in eV/Å.", text_columns=3)


def _shapley_blocks(report: SweepReport, results: Sequence[MethodResults]) -> Iterator[Block]:
    known = [found for found in results if found.shapley]
    if not known:
        return
    empty = report.sweep.empty
    yield Text(
        "The Shapley value of a base model is what it takes off the error when it joins, averaged over every order "
        "in which base models can join. The empty ensemble, least squares of nothing, predicts zero forces, with an "
        f"error of {empty['valid']:.4f} eV/Å on validation and {empty['test']:.4f} on test structures; the values of "
        "all base models sum to what is left of that by all of them. Whoever comes first takes most of it: what "
        "tells base models apart is the part of joining others, below zero for a base model that harms more than it "
        "helps."
    )
    yield _picture(report, "shapley", "Shapley values on test structures.")
    body = [
        [
            found.method, name,
            *(f"{number:.5f}" for split in ("valid", "test") for number in _numbers(found, split, name)),
        ]
        for found in known
        for name in report.sweep.base_models
    ]  # fmt: skip
    head = [
        "method",
        "base model",
        *(f"{split}\n{what}" for split in ("validation", "test") for what in ("value", "joining")),
    ]
    yield Table(head, body, "Shapley values in eV/Å.", text_columns=2)


def _numbers(found: MethodResults, split: str, name: str) -> tuple[float, float]:
    value = found.shapley[split][name]
    return value.value, value.joining


def _agreement_blocks(sweep: Sweep) -> Iterator[Block]:
    found = sweep.agreements()
    if not found:
        return
    body = [
        [
            f"{entry.methods[0]} and {entry.methods[1]}", str(entry.n_subsets),
            *("too few" if value is None else f"{value:.3f}" for value in entry.spearman.values()),
        ]
        for entry in found
    ]  # fmt: skip
    caption = (
        "Spearman's rank correlation of errors over the subsets that both methods know: 1 where they rank them "
        "alike. A quick method that ranks like per-subset can stand in for it."
    )
    yield Table(("methods", "subsets", "validation", "test"), body, caption)


def subset_table(sweep: Sweep) -> Table:
    """Every subset with its errors by every method, best first on validation by the first one."""
    errors: dict[tuple[str, ...], dict[str, dict[str, float]]] = {}
    for entry in sweep.entries:
        errors.setdefault(entry.subset, {})[entry.method] = entry.errors
    first = sweep.methods[0]
    ranked = sorted(errors, key=lambda subset: errors[subset].get(first, {}).get("valid", float("inf")))
    body = []
    for subset in ranked:
        cells = ["+".join(subset), str(len(subset)), f"{1000 * sweep.cost(subset):.3g}"]
        for method in sweep.methods:
            found = errors[subset].get(method)
            cells += ["", ""] if found is None else [f"{found['valid']:.4f}", f"{found['test']:.4f}"]
        body.append(cells)
    head = ["base models", "number", "ms per\nstructure"]
    head += [f"{method}\n{split}" for method in sweep.methods for split in ("validation", "test")]
    return Table(head, body, f"Force RMSE per frame in eV/Å, ranked by validation of {first}.")
