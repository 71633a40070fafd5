"""The report of a stack run: diagnostics and uncertainties from its evaluation, as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from elmlff_core.data.splits import Parts
from elmlff_core.evaluation.diagnostics import Diagnostics, diagnose
from elmlff_core.evaluation.evaluation import Evaluation
from elmlff_core.evaluation.summary import verdict
from elmlff_core.report.page import write_page
from elmlff_core.report.versions import versions
from elmlff_core.settings.run_folder import CONFIG_FILE, RunFolder
from elmlff_core.uncertainty.quality import energy_quality, force_quality
from elmlff_core.uncertainty.uncertainty import Uncertainty
from elmlff_core.workflows.stack.page import RunResults, run_page

DIAGNOSTICS_FILE = "diagnostics.json"
REPORT_FILE = "report.html"
PICTURES = {
    "parity.png": "Predicted against reference force components on test structures, and errors.",
    "learning_curve.png": "Training of the run's stack.",
}


def diagnose_run(evaluation: Evaluation, parts: Parts, split_method: str) -> Diagnostics:
    """What the table of a run does not say; `split_method` is the setting, which given test structures overrule."""
    predictions = {row.name: evaluation.predictions[row.name]["test"] for row in evaluation.rows if row.kind != "base"}
    index = {"train": parts.train_index, "test": parts.test_index}
    given = parts.test_source is not None
    return diagnose(evaluation.features, predictions, index, None if given else split_method)


def write_run_report(
    evaluation: Evaluation,
    diagnostics: Diagnostics,
    uncertainty: Uncertainty | None,
    notes: Sequence[str],
    run: RunFolder,
) -> None:
    """Write ``diagnostics.json`` and ``report.html`` beside the pictures that are there.

    Parameters
    ----------
    evaluation : errors and predictions of the run
    diagnostics : of the run
    uncertainty : of the run's stack, or None
    notes : what a reader should know of the table
    run : its settings and pictures are shown

    Raises
    ------
    ElmlffError
        The page cannot be written.
    """
    test, chosen = evaluation.features["test"], evaluation.chosen
    prediction = evaluation.predictions[chosen.fit.title]["test"]
    qualities = {}
    if uncertainty is not None:
        qualities["forces"] = force_quality(uncertainty, test, prediction, chosen.meta)
        if (energies := energy_quality(uncertainty, test, prediction)) is not None:
            qualities["energies"] = energies
    record = diagnostics.as_record() | {
        "uncertainty": {name: asdict(quality) for name, quality in qualities.items()},
        "versions": versions(),
    }
    (run.path / DIAGNOSTICS_FILE).write_text(json.dumps(record, indent=1))
    counts = {part: len(evaluation.features[part]) for part in ("train", "valid", "test")}
    subtitle = (
        f"{evaluation.features['train'].source}: {counts['train']} training, {counts['valid']} validation and "
        f"{counts['test']} test structures. Folder {run.path}."
    )
    results = RunResults(
        title=f"{evaluation.stack_row.name} of {', '.join(test.models)}",
        subtitle=subtitle,
        verdict=verdict(evaluation.rows),
        notes=notes,
        rows=evaluation.rows,
        diagnostics=diagnostics,
        pictures={
            caption: (run.path / name).read_bytes() for name, caption in PICTURES.items() if (run.path / name).exists()
        },
        uncertainty=uncertainty,
        qualities=qualities,
        settings=(run.path / CONFIG_FILE).read_text(),
        versions=versions(),
    )
    write_page(run_page(results), run.path / REPORT_FILE)
