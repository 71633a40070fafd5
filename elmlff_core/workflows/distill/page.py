"""The page of a distillation."""

from __future__ import annotations

from elmlff_core.distillation.comparison import TITLES
from elmlff_core.evaluation.model_errors import ModelErrors
from elmlff_core.report.error_tables import energy_stress_table
from elmlff_core.report.page import Page, Picture, Section, Table, Text, write_page
from elmlff_core.report.provenance import provenance
from elmlff_core.settings.run_folder import CONFIG_FILE, RunFolder
from elmlff_core.workflows.distill.plots import speed_plot
from elmlff_core.workflows.distill.results import DistillResults
from elmlff_core.workflows.distill.tables import statements, tables

REPORT_FILE = "report.html"
CAPTION = "Force errors on held-out structures over the time of a step. The control is the same model as the student."
METRICS = {"rmse_per_frame": "RMSE per frame", "rmse": "RMSE"}


def write_report(results: DistillResults, stack: str, run: RunFolder) -> None:
    """Write ``report.html``; `stack` is the folder of the stack.  ElmlffError if it cannot be written."""
    settings = (run.path / CONFIG_FILE).read_text(encoding="utf-8")
    kept, lessons, speed, *rest = tables(results)
    others = energy_stress_table(results.errors, results.splits, TITLES)
    said = [Text(text) for text in statements(results)]
    sections = [
        Section("Summary", [Text(results.summary, key=True), *(Text(note) for note in results.notes)]),
        Section("Errors", [force_table(results), *([] if others is None else [others])]),
        Section("Speed", [speed, Picture("speed", speed_plot(results), CAPTION)]),
        Section("What it learnt from", [kept, lessons]),
        Section("Energy and uncertainty", [*said, *rest]),
        *provenance(settings),
    ]
    student = next(model for model in results.errors if model.kind == "student")
    page = Page(f"{student.name} of a stack", f"Distilled from {stack}. Folder {run.path}.", sections)
    write_page(page, run.path / REPORT_FILE)


def force_table(results: DistillResults) -> Table:
    """Return the force errors of all models on held-out structures."""
    head = ["model", "kind", *(f"{TITLES[split]}\n{title}" for split in results.splits for title in METRICS.values())]
    rows = [
        [model.name, model.kind, *(_cell(model, split, metric) for split in results.splits for metric in METRICS)]
        for model in results.errors
    ]
    key_rows = [place for place, model in enumerate(results.errors) if model.chosen]
    return Table(head, rows, "Force errors in eV/Å.", text_columns=2, key_rows=key_rows)


def _cell(model: ModelErrors, split: str, metric: str) -> str:
    value = model.errors.get(split, {}).get(metric)
    return "–" if value is None else f"{value:.4f}"
