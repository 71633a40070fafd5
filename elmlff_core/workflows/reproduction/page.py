"""What a reproduction leaves: one page with all tables and figures, the tables as CSV, and everything as JSON."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from elmlff_core.features.metrics import MOST_TRAINING_STRUCTURES
from elmlff_core.files import write_json
from elmlff_core.report.heat_map import heat_map
from elmlff_core.report.page import Block, Page, Picture, Section, Table, Text, write_page
from elmlff_core.report.plots import as_png
from elmlff_core.report.provenance import provenance
from elmlff_core.settings.run_folder import CONFIG_FILE
from elmlff_core.workflows.ablation.page import ablation_table
from elmlff_core.workflows.reproduction.plots import energy_distributions, published_plot
from elmlff_core.workflows.reproduction.results import FEWEST_SUBSETS, FRAME_TITLES, Reproduction
from elmlff_core.workflows.sweep.page import subset_map
from elmlff_core.workflows.sweep.subsets import Subset, subset_name

UNITS = "Force RMSE per frame (Eq. 7) in eV/Å."


def write_results(results: Reproduction, folder: Path) -> None:
    """Write everything into `folder`; ``reproduction.json`` comes last, and says that the rest is there.

    ElmlffError where the page cannot be written.
    """
    for stale in ("reproduction.json", "published.png", "figure_3.png", "table_3.csv"):
        (folder / stale).unlink(missing_ok=True)
    pictures = {}
    if results.resemblances and results.resemblances[0].n_subsets >= FEWEST_SUBSETS:
        pictures["published"] = as_png(published_plot(results))
    if results.energies:
        pictures["figure_3"] = as_png(energy_distributions(results.energies))
    for name, png in pictures.items():
        (folder / f"{name}.png").write_bytes(png)
    for place, table in enumerate((base_table(results), subset_table(results)), start=1):
        write_table(table, folder / f"table_{place}.csv")
    if results.ablation is not None:
        write_table(ablation_table(results.ablation), folder / "table_3.csv")
    for name in ("sizes", "costs", "shapley"):
        if (path := folder / "sweep" / f"{name}.png").exists():
            pictures[name] = path.read_bytes()
    settings = (folder / "sweep" / CONFIG_FILE).read_text()
    write_page(reproduction_page(results, pictures, settings), folder / "reproduction.html")
    write_json(folder / "reproduction.json", results.as_record(), indent=1)


def write_table(table: Table, path: Path) -> None:
    """The cells of a table as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(" ".join(title.split()) for title in table.head)
        writer.writerows(table.rows)


def reproduction_page(results: Reproduction, pictures: dict[str, bytes], settings: str) -> Page:
    """The page of a reproduction; `pictures` are PNG by name."""
    sections = [
        Section("What was found", [*(Text(line, key=True) for line in results.summaries()), *_notes(results)]),
        Section("What differs from the paper", [differences_table(results)]),
        Section("Table 1: the base models", [base_table(results)]),
        Section("Table 2: ensembles", list(_subset_blocks(results, pictures))),
        Section("Figure 2: all subsets", list(_figure_2(results, pictures))),
        Section("Table 3: what the parts of gat are worth", list(_ablation_blocks(results))),
        Section("Figure 3: energies", list(_energy_blocks(pictures))),
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
    """What is set up otherwise."""
    return Table(("what", "paper", "here"), results.differences(), text_columns=3)


def base_table(results: Reproduction) -> Table:
    """Table 1."""
    body = []
    for base in results.base_models:
        errors = base.errors.errors
        energy = errors["test"].get("energy_rmse_per_atom")
        cells = [
            f"{errors[split][key]:.4f}" for split in ("test", "train") for key in ("rmse_per_frame", "rmse", "mae")
        ]
        body.append([base.errors.name, base.origin, *cells, "" if energy is None else f"{1000 * energy:.3g}"])
    head = ["base model", "where from"]
    head += [f"{split}\n{key}" for split in ("test", "training") for key in ("per frame", "RMSE", "MAE")]
    caption = (
        "Force errors in eV/Å; per frame is the paper's metric (Eq. 7). Energy RMSE in meV per atom, each base model "
        "aligned."
    )
    return Table([*head, "test\nenergy"], body, caption, text_columns=2)


def subset_table(results: Reproduction) -> Table:
    """Table 2: every subset, the published error beside ours."""
    sweep = results.sweep
    errors: dict[Subset, dict[str, dict[str, float]]] = {}
    for entry in sweep.entries:
        errors.setdefault(entry.subset, {})[entry.method] = entry.errors
    values = {entry.subset: results.published_for(entry) for entry in sweep.entries}
    body = []
    for subset in sorted(errors, key=lambda subset: (len(subset), [sweep.base_models.index(name) for name in subset])):
        published = values[subset]
        cells = [subset_name(subset), "" if published is None else f"{published:.4f}"]
        for method in sweep.methods:
            found = errors[subset].get(method)
            cells += ["", ""] if found is None else [f"{found[split]:.4f}" for split in FRAME_TITLES]
        body.append(cells)
    head = [
        "base models",
        "published",
        *(f"{method}\n{split}" for method in sweep.methods for split in ("training", "unseen")),
    ]
    sample = f"Training errors of this table are over at most {MOST_TRAINING_STRUCTURES} evenly spaced frames."
    return Table(head, body, f"{UNITS} {sample}")


def _subset_blocks(results: Reproduction, pictures: dict[str, bytes]) -> Iterator[Block]:
    yield subset_table(results)
    if "published" in pictures:
        rows = [
            [FRAME_TITLES[entry.split], str(entry.n_subsets), f"{entry.ratio:.3g}", _shown(entry.spearman)]
            for entry in results.resemblances
        ]
        caption = f"Errors by {results.compared_method} over published ones, and their rank correlation."
        yield Table(("errors on", "subsets", "median ratio", "Spearman"), rows, caption)
        yield _picture(pictures, "published", "Published errors against ours on training and on unseen frames.")
    rows = [
        [" and ".join(entry.methods), str(entry.n_subsets), *(_shown(value) for value in entry.spearman.values())]
        for entry in results.sweep.agreements()
    ]
    if rows:
        caption = "Spearman's rank correlation of the methods over the subsets both know."
        yield Table(("methods", "subsets", "validation", "test"), rows, caption)


def _shown(value: float | None) -> str:
    return "too few" if value is None else f"{value:.3f}"


def _figure_2(results: Reproduction, pictures: dict[str, bytes]) -> Iterator[Block]:
    yield heat_map(subset_map(results.sweep))
    captions = {
        "sizes": "Errors by number of base models; the best of a size is that on validation.",
        "costs": "Errors on validation against the time of the base models.",
        "shapley": "What each base model brings: Shapley values on unseen frames.",
    }
    for name, caption in captions.items():
        if name in pictures:
            yield _picture(pictures, name, caption)
    yield Text("More about the subsets is in sweep/sweep.html beside this page.")


def _ablation_blocks(results: Reproduction) -> Iterator[Block]:
    if results.ablation is not None:
        yield ablation_table(results.ablation)


def _energy_blocks(pictures: dict[str, bytes]) -> Iterator[Block]:
    if "figure_3" in pictures:
        yield _picture(pictures, "figure_3", "Energies of training and test structures.")


def _picture(pictures: dict[str, bytes], name: str, caption: str) -> Picture:
    return Picture(pictures[name], caption, caption)
