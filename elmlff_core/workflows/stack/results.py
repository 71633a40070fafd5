"""Results of a stack run: everything that its page shows, as plain data and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NotRequired, TypedDict

from elmlff_core.evaluation.diagnostics import Diagnostics, diagnose
from elmlff_core.evaluation.evaluation import Evaluation
from elmlff_core.evaluation.generations import Generation, write_generations
from elmlff_core.evaluation.learning_curve import LearningCurve
from elmlff_core.evaluation.model_errors import ModelErrors, as_records, write_csv
from elmlff_core.evaluation.summary import in_sample_note, summary, unused_stresses_note
from elmlff_core.features.metrics import SPLITS
from elmlff_core.files import write_record
from elmlff_core.fits.fit import Fitted
from elmlff_core.settings.run_folder import METRICS_FILE, RunFolder
from elmlff_core.uncertainty.quality import UncertaintyQuality, energy_quality, force_quality, qualities_by_domain
from elmlff_core.uncertainty.uncertainty import Uncertainty
from elmlff_core.workflows.prepare import Prepared


@dataclass(frozen=True)
class StackResults:
    """Results of a stack run.

    Attributes
    ----------
    prepared : prepared inputs of the run
    fitted : all fits
    evaluation : errors and predictions
    diagnostics : quality of splits and labels, and errors in detail
    uncertainty : uncertainty of the run's stack, or None
    qualities : ``forces`` and ``energies`` -> quality of the uncertainty on test structures
    notes : notes for the reader
    learning_curves : errors over the number of training structures
    generations : this run behind the earlier ones that it goes on from
    """

    prepared: Prepared
    fitted: Sequence[Fitted]
    evaluation: Evaluation
    diagnostics: Diagnostics
    uncertainty: Uncertainty | None = None
    qualities: dict[str, UncertaintyQuality] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    learning_curves: Sequence[LearningCurve] = ()
    generations: Sequence[Generation] = ()

    @classmethod
    def of(
        cls,
        prepared: Prepared,
        fitted: Sequence[Fitted],
        evaluation: Evaluation,
        uncertainty: Uncertainty | None,
        learning_curves: Sequence[LearningCurve] = (),
        generations: Sequence[Generation] = (),
    ) -> StackResults:
        """Compute diagnostics, notes, and the quality of uncertainties on test structures."""
        diagnostics = diagnose_run(prepared, evaluation)
        notes = notes_of(prepared, evaluation) + prepared.notes + diagnostics.warnings
        wants_stress = any(result.fit.meta.plugin.stress for result in fitted)
        if wants_stress and (note := unused_stresses_note(prepared.features["train"])):
            notes.append(note)
        qualities = {} if uncertainty is None else uncertainty_qualities(uncertainty, evaluation)
        found = diagnostics, uncertainty, qualities, notes, learning_curves, generations
        return cls(prepared, fitted, evaluation, *found)

    @property
    def summary(self) -> str:
        """The errors of the stack in words, compared with base models and baselines."""
        return summary(self.evaluation.errors)


def diagnose_run(prepared: Prepared, evaluation: Evaluation) -> Diagnostics:
    """Compute the diagnostics of the run."""
    splits = prepared.splits
    predictions = {
        model.name: evaluation.predictions[model.name]["test"]
        for model in evaluation.errors
        if model.kind != "base model"
    }
    index = {"train": splits.train_index, "test": splits.test_index}
    as_settings_say = splits.test_source is None and splits.n_new is None
    method = prepared.config.data.split if as_settings_say else None
    return diagnose(evaluation.features, predictions, index, method)


def uncertainty_qualities(uncertainty: Uncertainty, evaluation: Evaluation) -> dict[str, UncertaintyQuality]:
    """Return the quality of the uncertainty on test structures, of ``forces`` and, if there are any, ``energies``."""
    test, chosen = evaluation.features["test"], evaluation.chosen
    prediction = evaluation.predictions[chosen.fit.title]["test"]
    outside = uncertainty.outside(test, prediction.forces)
    qualities = {"forces": force_quality(uncertainty, test, prediction, chosen.meta, outside)}
    if outside is not None and outside.any:
        by_domain = qualities_by_domain(uncertainty, test, prediction, chosen.meta, outside)
        qualities |= {f"forces, {where} the domain": quality for where, quality in by_domain.items()}
    if (energies := energy_quality(uncertainty, test, prediction, outside)) is not None:
        qualities["energies"] = energies
    return qualities


def notes_of(prepared: Prepared, evaluation: Evaluation) -> list[str]:
    """Return notes for the reader on in-sample and out-of-fold features."""
    trained, folds = prepared.trained, prepared.folds
    given = [model.name for model in prepared.base_models if model.name not in trained]
    notes = []
    if prepared.in_sample:
        notes.append(in_sample_note(evaluation.errors, prepared.in_sample))
    if trained and folds:
        notes.append(
            f"features of {', '.join(trained)} on training structures are out-of-fold, from {len(folds)} folds"
        )
    if given and folds:
        notes.append(
            f"{', '.join(given)} cannot be retrained on folds, because elmlff does not train them: their features are "
            "in-sample if they were trained on the training structures"
        )
    return notes


class Metrics(TypedDict):
    """What a later run reads of ``metrics.json``."""

    errors: list[ModelErrors]
    summary: str
    notes: list[str]
    learning_curves: list[dict[str, Any]]
    splits: dict[str, list[int]]
    generations: NotRequired[list[Generation]]


def write_metrics(results: StackResults, run: RunFolder) -> None:
    """Write the errors as CSV, then all results as JSON; the JSON file marks the run as complete."""
    evaluation, splits = results.evaluation, results.prepared.splits
    write_csv(evaluation.errors, run.path / "metrics.csv")
    if len(results.generations) > 1:
        write_generations(results.generations, run.path / "generations.csv")
    fit = evaluation.chosen.fit
    chosen = fit.meta
    record: dict[str, Any] = {
        "summary": results.summary,
        "notes": results.notes,
        "errors": as_records(evaluation.errors),
        "units": {"forces": "eV/Å", "energy": "eV/atom", "stress": "eV/Å³"},
        "meta": {
            "name": chosen.name,
            "options": chosen.options,
            "averaged": fit.averaged,
            "with_geometry_only": fit.with_geometry_only,
            "chosen_on": "valid rmse_per_frame",
        },
        "fits": [fitted.as_record() for fitted in results.fitted],
        "splits": {name: getattr(splits, f"{name}_index").tolist() for name in SPLITS},
        "learning_curves": [asdict(curve) for curve in results.learning_curves],
        "generations": [asdict(generation) for generation in results.generations],
        "folds": [splits.train_index[fold.index].tolist() for fold in results.prepared.folds],
    }
    write_record(run.path / METRICS_FILE, record)


def diagnostics_record(results: StackResults) -> dict[str, Any]:
    """Return diagnostics and quality of uncertainties as plain data for JSON."""
    qualities = {name: asdict(quality) for name, quality in results.qualities.items()}
    return results.diagnostics.as_record() | {"uncertainty": qualities}
