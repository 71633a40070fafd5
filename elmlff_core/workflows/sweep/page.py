"""Output files of a sweep: one page, figures, the table as CSV, and all results as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from elmlff_core.files import write_json, write_text
from elmlff_core.report.figures import Plot, as_csv
from elmlff_core.report.heat_map import SubsetMap, heat_map, heat_map_svg
from elmlff_core.report.page import Block, Data, Page, Picture, Section, Table, Text, write_page
from elmlff_core.report.provenance import provenance
from elmlff_core.settings.run_folder import CONFIG_FILE, RunFolder
from elmlff_core.workflows.sweep.results import Choice, MethodResults, Sweep, summary

METHODS = {
    "per-subset": "the meta-model {meta}, fitted separately for each subset",
    "masked": "one meta-model {meta} for all subsets, trained with random masks of the base models",
    "least-squares": "the linear combination per element, in closed form for each subset",
}
COLUMNS = ("subset", "size", "method", "test", "valid", "train", "seconds", "seconds_per_structure")


@dataclass(frozen=True)
class SweepReport:
    """Content of the page of a sweep.

    Attributes
    ----------
    sweep : results of the sweep
    subtitle : subtitle of the page
    plots : ``sizes``, ``costs`` and, if all subsets were evaluated, ``shapley`` -> plot
    settings : settings of the run, as TOML
    """

    sweep: Sweep
    subtitle: str
    plots: Mapping[str, Plot]
    settings: str = ""


def write_results(sweep: Sweep, source: str, counts: Mapping[str, int], run: RunFolder) -> None:
    """Write ``sweep.csv``, heat maps, ``sweep.html`` with its figures and, as the last file, ``sweep.json``.

    Parameters
    ----------
    sweep : results of the sweep
    source : source of the data
    counts : split -> number of structures
    run : folder of the run, which contains the settings

    Raises
    ------
    ElmlffError
        A file cannot be written.
    """
    write_text(run.path / "sweep.csv", sweep_csv(sweep))
    for method in sweep.methods:
        write_text(run.path / f"heat_map-{method}.svg", heat_map_svg(subset_map(sweep), method, "test"))
    subtitle = (
        f"{source}: {counts['train']} training, {counts['valid']} validation and {counts['test']} test structures. "
        f"Folder {run.path}."
    )
    settings = (run.path / CONFIG_FILE).read_text(encoding="utf-8")
    page = sweep_page(SweepReport(sweep, subtitle, draw(sweep), settings))
    write_page(page, run.path / "sweep.html", optional=("shapley",))
    write_json(run.path / "sweep.json", sweep.as_record(), indent=1)


def draw(sweep: Sweep) -> dict[str, Plot]:
    """Return the plots of a sweep by name."""
    from elmlff_core.workflows.sweep.plots import cost_plot, shapley_bars, size_curves  # imports matplotlib

    results = [sweep.of_method(method) for method in sweep.methods]
    plots = {"sizes": size_curves(results), "costs": cost_plot(sweep, results)}
    if shapley := {found.method: found.shapley["test"] for found in results if found.shapley}:
        plots["shapley"] = shapley_bars(shapley)
    return plots


def subset_map(sweep: Sweep) -> SubsetMap:
    """Return the data of the heat map of a sweep; the empty subset has the errors of zero forces."""
    errors: dict[tuple[str, ...], dict[str, dict[str, float]]] = {(): dict.fromkeys(sweep.methods, sweep.empty)}
    for entry in sweep.entries:
        errors.setdefault(entry.subset, {})[entry.method] = entry.errors
    return SubsetMap(sweep.base_models, sweep.methods, errors, sweep.costs)


def sweep_csv(sweep: Sweep) -> str:
    """Return the results as CSV, with a line for each subset and method; errors are in eV/Å."""
    rows = [
        (
            "+".join(entry.subset), len(entry.subset), entry.method,
            *(entry.errors[split] for split in ("test", "valid", "train")),
            f"{entry.seconds:.4g}", f"{sweep.cost(entry.subset):.4g}",
        )
        for entry in sweep.entries
    ]  # fmt: skip
    return as_csv(COLUMNS, rows)


def sweep_page(report: SweepReport) -> Page:
    """Return the page of a sweep."""
    sweep = report.sweep
    results = [sweep.of_method(method) for method in sweep.methods]
    sections = [
        Section("Recommendation", list(_opening(sweep, results))),
        Section("All subsets", [heat_map(subset_map(sweep), Data("sweep", sweep_csv(sweep)))]),
        Section("Number of base models", list(_size_blocks(report, results))),
        Section("Accuracy and cost", list(_cost_blocks(report, results))),
        Section("Contribution of each base model", list(_shapley_blocks(report, results))),
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
            ("recommended: lowest validation error", found.recommended),
            ("all base models", found.all_models),
            ("not for selection: lowest test error", found.lowest_test),
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
    yield Table(("method", "description", "subsets", "total seconds"), body, "The methods.", text_columns=2)


def _cells(choice: Choice) -> list[str]:
    return ["+".join(choice.subset), f"{choice.valid:.4f}", f"{choice.test:.4f}", f"{1000 * choice.cost:.3g}"]


def _picture(report: SweepReport, name: str, caption: str) -> Picture:
    return Picture(name, report.plots[name], caption)


def _size_blocks(report: SweepReport, results: Sequence[MethodResults]) -> Iterator[Block]:
    n_models = len(report.sweep.base_models)
    for found in results:
        yield Text(f"{found.method}: the validation error is lowest with {found.best_size} of {n_models} base models.")
    yield _picture(
        report, "sizes", "Errors by number of base models; the best subset of a size has the lowest validation error."
    )
    body = [
        [
            found.method, str(entry.size), str(entry.n_subsets), "+".join(entry.best),
            *(f"{value:.4f}" for value in (entry.valid, entry.test, entry.mean_valid, entry.mean_test)),
        ]
        for found in results
        for entry in found.sizes
    ]  # fmt: skip
    head = ("method", "base models", "subsets", "best", "its validation", "its test", "mean validation", "mean test")
    yield Table(
        head,
        body,
        "Force RMSE per frame in eV/Å for each size: subset with the lowest validation error, and mean of all subsets.",
    )


def _cost_blocks(report: SweepReport, results: Sequence[MethodResults]) -> Iterator[Block]:
    sweep = report.sweep
    yield Text(
        "The cost is the computing time of the base models, one after the other, on the machine of the sweep; the time "
        "of the meta-model is not included. A subset is on the Pareto front if no other subset is both cheaper and "
        "better on validation."
    )
    body = [[name, f"{1000 * seconds:.3g}"] for name, seconds in sweep.costs.items()]
    yield Table(("base model", "ms per structure"), body)
    yield _picture(report, "costs", "Validation errors against cost, and the Pareto front, numbered as in the table.")
    body = [
        [found.method, str(number), *_cells(choice)]
        for found in results
        for number, choice in enumerate(found.pareto, start=1)
    ]
    head = ("method", "number", "base models", "validation", "test", "ms per structure")
    yield Table(head, body, "The Pareto front: force RMSE per frame in eV/Å.", text_columns=3)


def _shapley_blocks(report: SweepReport, results: Sequence[MethodResults]) -> Iterator[Block]:
    known = [found for found in results if found.shapley]
    if not known:
        return
    empty = report.sweep.empty
    yield Text(
        "The Shapley value of a base model is the decrease of the error when it is added to an ensemble, averaged over "
        "all orders in which base models can be added. The empty ensemble predicts zero forces, with an error of "
        f"{empty['valid']:.4f} eV/Å on validation and {empty['test']:.4f} on test structures. The values of all base "
        "models sum to the difference between this error and the error of all base models together. The first base "
        "model of an order causes most of the decrease. Base models therefore differ mainly in the contribution of "
        "orders in which they join others; it is negative for a base model that increases the error on average."
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
        "Spearman's rank correlation of the errors of two methods over their common subsets: 1 if both rank the "
        "subsets equally. A quick method with the same ranking as per-subset can replace it."
    )
    yield Table(("methods", "subsets", "validation", "test"), body, caption)


def subset_table(sweep: Sweep) -> Table:
    """Return the table of all subsets and methods, ranked by the validation error of the first method."""
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
    return Table(head, body, f"Force RMSE per frame in eV/Å, ranked by the validation error of {first}.")
