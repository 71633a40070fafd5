"""The table of an ablation: errors of each variant over seeds, as JSON, CSV and a page."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from elmlff_core.report.page import Listing, Page, Section, Table, Text, write_page
from elmlff_core.report.versions import versions
from elmlff_core.settings.run_folder import CONFIG_FILE, RunFolder
from elmlff_core.workflows.ablation.variants import Variant
from elmlff_core.workflows.sweep.subset_errors import Entry

PARTS = {"test": "test", "valid": "validation", "train": "training"}


@dataclass(frozen=True)
class VariantRow:
    """Errors of one variant.

    Attributes
    ----------
    name, title : the variant's
    errors : part -> force RMSE per frame (Eq. 7), eV/Å, the mean over seeds
    spread : part -> standard deviation over seeds (n - 1), None for one seed
    per_seed : part -> one error a seed
    n_parameters : trainable numbers
    seconds : one fit took, the mean over seeds
    """

    name: str
    title: str
    errors: dict[str, float]
    spread: dict[str, float | None]
    per_seed: dict[str, list[float]]
    n_parameters: int | None
    seconds: float

    @classmethod
    def of(cls, variant: Variant, entries: Sequence[Entry], n_parameters: int | None) -> VariantRow:
        """From one entry for each seed."""
        per_seed = {part: [entry.errors[part] for entry in entries] for part in PARTS}
        several = len(entries) > 1
        return cls(
            variant.name,
            variant.title,
            {part: float(np.mean(values)) for part, values in per_seed.items()},
            {part: float(np.std(values, ddof=1)) if several else None for part, values in per_seed.items()},
            per_seed,
            n_parameters,
            float(np.mean([entry.seconds for entry in entries])),
        )

    def shown(self, part: str) -> str:
        """An error with its spread."""
        spread = self.spread[part]
        return f"{self.errors[part]:.4f}" + ("" if spread is None else f" ±{spread:.4f}")


def verdict(rows: Sequence[VariantRow]) -> str:
    """Which variant is best on validation, and how far the whole network is from it."""
    full, best = rows[0], min(rows, key=lambda row: row.errors["valid"])
    if best is full:
        return f"The whole network is best on validation: {full.shown('valid')} eV/Å (test {full.shown('test')})."
    text = (
        f"'{best.title}' is best on validation: {best.shown('valid')} eV/Å (test {best.shown('test')}); "
        f"the whole network has {full.shown('valid')} (test {full.shown('test')})"
    )
    spread = max(full.spread["valid"] or 0.0, best.spread["valid"] or 0.0)
    within = full.errors["valid"] - best.errors["valid"] <= spread
    return text + (", no more than the spread over seeds." if within else ".")


def ablation_table(rows: Sequence[VariantRow], n_seeds: int) -> Table:
    """For the page."""
    head = ["variant", *PARTS.values(), "change on\nvalidation", "parameters", "minutes"]
    body = []
    for row in rows:
        change = row.errors["valid"] / rows[0].errors["valid"] - 1
        parameters = "" if row.n_parameters is None else f"{row.n_parameters:,}"
        cells = [row.shown(part) for part in PARTS]
        body.append([row.title, *cells, f"{100 * change:+.1f} %", parameters, f"{row.seconds / 60:.1f}"])
    caption = "Force RMSE per frame in eV/Å."
    if n_seeds > 1:
        caption += f" ± is the standard deviation over {n_seeds} seeds: differences below it say nothing."
    return Table(head, body, caption, key_rows=(0,))


def write_ablation(
    rows: Sequence[VariantRow], models: Sequence[str], counts: Mapping[str, int], notes: Sequence[str], run: RunFolder
) -> None:
    """``ablation.csv``, ``ablation.html``, and at last ``ablation.json``; ElmlffError where they cannot be written."""
    n_seeds = len(rows[0].per_seed["test"])
    with (run.path / "ablation.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("variant", "seed", *PARTS, "n_parameters", "seconds"))
        for row in rows:
            for number in range(n_seeds):
                errors = (f"{row.per_seed[part][number]:.6g}" for part in PARTS)
                writer.writerow((row.name, number, *errors, row.n_parameters, f"{row.seconds:.1f}"))
    page = Page(
        f"Ablation of gat over {', '.join(models)}",
        f"{counts['train']} training, {counts['valid']} validation and {counts['test']} test structures. {run.path}.",
        [
            Section("Variants", [Text(verdict(rows), key=True), *map(Text, notes), ablation_table(rows, n_seeds)]),
            Section("Settings", [Listing((run.path / CONFIG_FILE).read_text())]),
            Section("Versions", [Table(("package", "version"), list(versions().items()), text_columns=2)]),
        ],
    )
    write_page(page, run.path / "ablation.html")
    record = {
        "format_version": 1,
        "units": "eV/Å, RMSE per frame",
        "models": list(models),
        "verdict": verdict(rows),
        "notes": list(notes),
        "rows": [asdict(row) for row in rows],
    }
    partial = run.path / "ablation.json.partial"
    partial.write_text(json.dumps(record, indent=1))
    partial.replace(run.path / "ablation.json")
