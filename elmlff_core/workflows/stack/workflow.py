"""A stack, from labelled structures to a force field: prepare, fit, evaluate, save, report.

Each step is a call into one of the rooms; none reaches back into an earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER, NamedModel
from elmlff_core.contracts.progress import Reporter
from elmlff_core.evaluation.evaluation import Evaluation, evaluate
from elmlff_core.evaluation.model_errors import ModelErrors, from_records
from elmlff_core.fits.fit import Fitted, fit_all, fits_of, planned
from elmlff_core.fits.meta_models import resolve_meta_models, with_resolved
from elmlff_core.settings.config import Config
from elmlff_core.settings.run_folder import RunFolder
from elmlff_core.stack.stack import Stack
from elmlff_core.uncertainty.uncertainty import Uncertainty
from elmlff_core.workflows.prepare import open_run, prepare, read_inputs
from elmlff_core.workflows.stack.page import write_report
from elmlff_core.workflows.stack.results import StackResults, write_metrics


@dataclass(frozen=True)
class StackRun:
    """What `build_stack` leaves.

    Attributes
    ----------
    folder : of the run, which is also that of the stack
    errors : the table
    summary : one sentence about it
    notes : what a reader should know of it
    """

    folder: Path
    errors: list[ModelErrors]
    summary: str
    notes: list[str] = field(default_factory=list)


def build_stack(
    config: Config,
    output: Path | None = None,
    models_folder: Path = DEFAULT_MODELS_FOLDER,
    bundle: bool = False,
    reporter: Reporter | None = None,
) -> StackRun:
    """Stack base models into one force field: the whole of elmlff in one call.

    Parameters
    ----------
    config : data, base models, meta-models, baselines and budgets
    output : folder of the run; by default one below ``elmlff-runs`` named after the settings
    models_folder : where base models trained here live, to be found by later runs
    bundle : copy checkpoints of base models into the run folder instead of referencing them
    reporter : told what is going on

    Raises
    ------
    ElmlffError
        Data, settings, plugins or base models that cannot be used; the message says what to do.
    """
    reporter = reporter or Reporter()
    inputs = read_inputs(config)
    metas = resolve_meta_models(inputs.config, inputs.splits)
    config = with_resolved(inputs.config, metas)
    run = open_run(inputs, "", config, output)
    if (finished := run.finished()) is not None:
        reporter.say(f"{run.path} is complete: showing its results")
        return StackRun(run.path, from_records(finished["errors"]), finished["summary"], finished["notes"])
    prepared = prepare(inputs, models_folder, reporter, planned(metas, config, len(inputs.splits.train_index)))
    fitted = fit_all(fits_of(metas, config), prepared.features, run, reporter)
    evaluation = evaluate(fitted, prepared.features, run.fit)
    chosen = save_stacks(prepared.base_models, fitted, evaluation, run, bundle)
    results = StackResults.of(prepared, fitted, evaluation, chosen.uncertainty)
    for note in results.notes:
        reporter.warn(note)
    write_report(results, run)
    write_metrics(results, run)
    return StackRun(run.path, evaluation.errors, results.summary, results.notes)


def save_stacks(
    models: list[NamedModel], fitted: Sequence[Fitted], evaluation: Evaluation, run: RunFolder, bundle: bool
) -> Stack:
    """The chosen meta-model with its base models as the run's stack; of several, each as a stack of its own too.

    Validation structures tell how sure each of them is.  The run's stack is returned.
    """
    saved = {}
    stacks = [entry for entry in fitted if entry.fit.number == 0 and not entry.fit.geometry_only]
    for entry in stacks:
        meta, valid = entry.fit.meta, evaluation.predictions[entry.fit.title]["valid"]
        uncertainty = Uncertainty.fit(evaluation.features["valid"], valid, entry.meta)
        one = Stack(models, meta.name, meta.options, entry.meta, uncertainty)
        if len(stacks) > 1:
            one.save(run.stacks / meta.name, bundle)
        if entry is evaluation.chosen:
            one.save(run.path, bundle)
        saved[entry.fit.title] = one
    return saved[evaluation.chosen.fit.title]
