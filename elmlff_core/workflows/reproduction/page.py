"""Output files of a reproduction: one page, figures, the tables as CSV, and all results as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from elmlff_core.features.metrics import MOST_TRAINING_STRUCTURES
from elmlff_core.files import write_csv, write_json
from elmlff_core.report.figures import Plot
from elmlff_core.report.heat_map import heat_map
from elmlff_core.report.page import Block, Data, Page, Picture, Section, Table, Text, write_page
from elmlff_core.report.provenance import provenance
from elmlff_core.settings.run_folder import CONFIG_FILE
from elmlff_core.workflows.ablation.page import ablation_table
from elmlff_core.workflows.ablation.results import Ablation
from elmlff_core.workflows.reproduction.plots import energy_distributions, published_plot
from elmlff_core.workflows.reproduction.results import FRAME_TITLES, Reproduction
from elmlff_core.workflows.sweep.page import draw, subset_map, sweep_csv
from elmlff_core.workflows.sweep.subsets import Subset, subset_name

UNITS = "Force RMSE per frame (Eq. 7) in eV/Å."


def write_results(results: Reproduction, folder: Path) -> None:
    """Write tables, ``reproduction.html`` with its figures and, as the last file, ``reproduction.json`` to `folder`.

    Raises ElmlffError if a file cannot be written.
    """
    for stale in ("reproduction.json", "table_3.csv"):
        (folder / stale).unlink(missing_ok=True)
    plots = draw(results.sweep)
    if results.compared_method is not None:
        plots["published"] = published_plot(results)
    if results.energies:
        plots["figure_3"] = energy_distributions(results.energies)
    for place, table in enumerate((base_table(results), subset_table(results)), start=1):
        write_table(table, folder / f"table_{place}.csv")
    if results.ablation is not None:
        write_table(variant_table(results, results.ablation), folder / "table_3.csv")
    settings = (folder / "sweep" / CONFIG_FILE).read_text()
    page = reproduction_page(results, plots, settings)
    write_page(page, folder / "reproduction.html", optional=("shapley", "published", "figure_3"))
    write_json(folder / "reproduction.json", results.as_record(), indent=1)


def write_table(table: Table, path: Path) -> None:
    """Write the cells of a table as CSV."""
    write_csv(path, [[" ".join(title.split()) for title in table.head], *table.rows])


def reproduction_page(results: Reproduction, plots: dict[str, Plot], settings: str) -> Page:
    """Return the page of a reproduction; `plots` are by name."""
    sections = [
        Section("Summary", [*(Text(line, key=True) for line in results.summaries()), *_notes(results)]),
        Section("Differences from the paper", [differences_table(results)]),
        Section("Published values", list(_resemblance_blocks(results))),
        Section("Table 1: the base models", [base_table(results)]),
        Section("Table 2: ensembles", list(_subset_blocks(results, plots))),
        Section("Figure 2: all subsets", list(_figure_2(results, plots))),
        Section("Table 3: ablation of gat", list(_ablation_blocks(results))),
        Section("Figure 3: energies", list(_energy_blocks(plots))),
        *provenance(settings),
    ]
    counts = results.counts
    return Page(
        f"Reproduction of the study of {results.study.name}",
        "EL-MLFFs, arXiv 2403.17507v1. "
        f"{counts['train']} training, {counts['valid']} validation and {counts['test']} test structures.",
        [section for section in sections if section.blocks],
    )


def _notes(results: Reproduction) -> list[Block]:
    return [Text(note) for note in results.sweep.notes]


def differences_table(results: Reproduction) -> Table:
    """Return the settings that differ from the paper."""
    return Table(("setting", "paper", "this run"), results.differences(), text_columns=3)


def base_table(results: Reproduction) -> Table:
    """Return Table 1: the errors of each base model."""
    body = []
    for base in results.base_models:
        errors = base.errors.errors
        energy = errors["test"].get("energy_rmse_per_atom")
        cells = [
            f"{errors[split][key]:.4f}" for split in ("test", "train") for key in ("rmse_per_frame", "rmse", "mae")
        ]
        published = _known(results.published.base_models.get(base.errors.name))
        energy_cell = "" if energy is None else f"{1000 * energy:.3g}"
        body.append([base.errors.name, base.origin, published, *cells, energy_cell])
    head = ["base model", "origin", "published\nper frame"]
    head += [f"{split}\n{key}" for split in ("test", "training") for key in ("per frame", "RMSE", "MAE")]
    caption = (
        "Force errors in eV/Å; 'per frame' is the paper's metric (Eq. 7). Energy RMSE in meV per atom; energies of "
        "each base model are aligned to the reference."
    )
    return Table([*head, "test\nenergy"], body, caption, text_columns=2)


def subset_table(results: Reproduction) -> Table:
    """Return Table 2: the errors of every subset beside the published error."""
    sweep = results.sweep
    errors: dict[Subset, dict[str, dict[str, float]]] = {}
    for entry in sweep.entries:
        errors.setdefault(entry.subset, {})[entry.method] = entry.errors
    published = {entry.subset: _known(results.published_for(entry)) for entry in sweep.entries}
    body = []
    for subset in sorted(errors, key=lambda subset: (len(subset), [sweep.base_models.index(name) for name in subset])):
        cells = [subset_name(subset), published[subset]]
        for method in sweep.methods:
            found = errors[subset].get(method)
            cells += ["", ""] if found is None else [f"{found[split]:.4f}" for split in FRAME_TITLES]
        body.append(cells)
    head = [
        "base models",
        "published",
        *(f"{method}\n{split}" for method in sweep.methods for split in ("training", "unseen")),
    ]
    sample = f"Training errors are over at most {MOST_TRAINING_STRUCTURES} evenly spaced frames."
    return Table(head, body, f"{UNITS} {sample}")


def variant_table(results: Reproduction, ablation: Ablation) -> Table:
    """Return Table 3: the errors of each variant beside the published error."""
    table = ablation_table(ablation)
    values = [_known(results.published.variants.get(variant.name)) for variant in ablation.variants]
    rows = [[title, value, *cells] for (title, *cells), value in zip(table.rows, values, strict=True)]
    return replace(table, head=[table.head[0], "published", *table.head[1:]], rows=rows)


def _known(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _resemblance_blocks(results: Reproduction) -> Iterator[Block]:
    rows = [
        [table, FRAME_TITLES[entry.split], str(entry.n), f"{entry.ratio:.3g}", f"{entry.distance:.3g}",
         _shown(entry.spearman)]
        for table, close in results.resemblances.items()
        for entry in close
    ]  # fmt: skip
    if rows:
        caption = (
            "Errors of this run over published errors: the median ratio, the median of the larger over the smaller, "
            "and Spearman's rank correlation. Published errors resemble the column with the smaller distance."
        )
        yield Table(("table", "errors on", "number", "ratio", "distance", "Spearman"), rows, caption, text_columns=2)


def _subset_blocks(results: Reproduction, plots: dict[str, Plot]) -> Iterator[Block]:
    yield subset_table(results)
    if "published" in plots:
        yield _picture(
            plots, "published", "Errors of this run against published errors, on training and on unseen frames."
        )
    rows = [
        [" and ".join(entry.methods), str(entry.n_subsets), *(_shown(value) for value in entry.spearman.values())]
        for entry in results.sweep.agreements()
    ]
    if rows:
        caption = "Spearman's rank correlation of two methods over their common subsets."
        yield Table(("methods", "subsets", "validation", "test"), rows, caption)


def _shown(value: float | None) -> str:
    return "too few" if value is None else f"{value:.3f}"


def _figure_2(results: Reproduction, plots: dict[str, Plot]) -> Iterator[Block]:
    yield heat_map(subset_map(results.sweep), Data("sweep", sweep_csv(results.sweep)))
    captions = {
        "sizes": "Errors by number of base models; the best subset of a size has the lowest validation error.",
        "costs": "Validation errors against the computing time of the base models.",
        "shapley": "Contribution of each base model: Shapley values on unseen frames.",
    }
    for name, caption in captions.items():
        if name in plots:
            yield _picture(plots, name, caption)
    yield Text("See sweep/sweep.html in the folder of this page for details of the subsets.")


def _ablation_blocks(results: Reproduction) -> Iterator[Block]:
    if results.ablation is not None:
        yield variant_table(results, results.ablation)


def _energy_blocks(plots: dict[str, Plot]) -> Iterator[Block]:
    if "figure_3" in plots:
        yield _picture(plots, "figure_3", "Energies of training and test structures.")


def _picture(plots: dict[str, Plot], name: str, caption: str) -> Picture:
    return Picture(name, plots[name], caption)
