"""The stack workflow, from labelled structures to a force field: prepare, fit, evaluate, save, report.

An interrupted run resumes; a finished run shows its results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER, NamedModel
from elmlff_core.base_models.out_of_fold import make_folds
from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.content import SeenStructures
from elmlff_core.errors import ConfigError, DataError
from elmlff_core.evaluation.evaluation import Evaluation, evaluate
from elmlff_core.evaluation.generations import Generation
from elmlff_core.evaluation.model_errors import ModelErrors
from elmlff_core.execution.placement import Placement
from elmlff_core.fits.auto import Tried, has_energies, tried
from elmlff_core.fits.choice import N_FOLDS, choose, fits_of_choice
from elmlff_core.fits.fit import Fit, Fitted, check_average, fits_of, planned, with_averages
from elmlff_core.fits.meta_models import NamedMeta, left_open, with_resolved
from elmlff_core.fits.tasks import FitJob, Fitting, fit_all
from elmlff_core.meta.training.device import check_device
from elmlff_core.settings.config import Config
from elmlff_core.settings.run_folder import RunFolder
from elmlff_core.stack.stack import Stack
from elmlff_core.uncertainty.domain import Domain
from elmlff_core.uncertainty.uncertainty import Uncertainty
from elmlff_core.workflows.inputs import Inputs, open_run, read_inputs, run_of
from elmlff_core.workflows.plan import Plan, plan_of
from elmlff_core.workflows.prepare import Prepared, prepare
from elmlff_core.workflows.stack.generations import generations_until, keep_for_later
from elmlff_core.workflows.stack.learning import learning_curves
from elmlff_core.workflows.stack.page import write_results
from elmlff_core.workflows.stack.results import Metrics, StackResults
from elmlff_core.workflows.work import CachedFeatures, Place

# With fewer training structures a base model that is trained on them may know them by heart, and nothing tells the
# meta-model: two or three validation structures do not.  On molybdenum stacks were better than each base model in every
# draw of 45 training structures, and with 18 not in every one without folds (docs/universal-models.md).
ENOUGH_IN_SAMPLE = 40


@dataclass(frozen=True)
class StackRun:
    """Result of `build_stack`.

    Attributes
    ----------
    folder : folder of the run and of the stack
    errors : errors of base models, baselines and stacks
    summary : the errors in words
    notes : notes for the reader
    generations : this run behind the earlier ones that it goes on from
    """

    folder: Path
    errors: list[ModelErrors]
    summary: str
    notes: list[str] = field(default_factory=list)
    generations: list[Generation] = field(default_factory=list)


def build_stack(
    config: Config,
    output: Path | None = None,
    models_folder: Path = DEFAULT_MODELS_FOLDER,
    bundle: bool = False,
    reporter: Reporter | None = None,
    learning_curve: bool = False,
) -> StackRun:
    """Stack base models into one force field.

    Parameters
    ----------
    config : settings: data, base models, meta-models, baselines and budgets
    output : folder of the run; by default a folder in ``elmlff-runs`` named after the settings
    models_folder : folder for trained base models, where later runs find them
    bundle : whether to copy checkpoints of base models into the run folder instead of referencing them
    reporter : receives messages and progress
    learning_curve : whether to fit the stack's meta-model also to an eighth, a quarter and half of the training
        structures, if it sees the geometry; the learning curve of the linear combination is always drawn

    Raises
    ------
    ElmlffError
        Data, settings, plugins or base models cannot be used; the message explains what to do.
    """
    reporter = reporter or Reporter()
    given = config
    inputs, trying, without_energies, config = _resolved(config)
    run = open_run(inputs, "", config, output)
    keep_for_later(given, inputs, run)
    finished = run.finished(Metrics)
    if finished is not None and not (learning_curve and len(finished["learning_curves"]) < 2):
        reporter.say(f"{run.path} is complete: showing its results")
        for note in finished["notes"]:
            reporter.warn(note)
        return StackRun(
            run.path, finished["errors"], finished["summary"], finished["notes"], finished.get("generations", [])
        )
    plans = [*planned(trying.all, config, len(inputs.splits.train_index), bool(trying.compared))]
    if inputs.config.folds and not config.folds:
        plans.append(
            f"with so few structures base models are trained {N_FOLDS} times more, each without some of them: they "
            "may know by heart what they are trained on, and the meta-model has to see how they err on new structures"
        )
    # What `auto` fits depends on what base models predict.
    fits = (
        [] if left_open(inputs.config) else trainings_of(fits_of(trying.metas, config), run.fit, inputs, models_folder)
    )
    prepared = prepare(inputs, models_folder, run.tasks, reporter, plans, fits)
    features = prepared.features
    if left_open(inputs.config) and not has_energies(features["train"]):  # this is known now
        trying = without_energies
        prepared = replace(prepared, notes=[*prepared.notes, *_notes_on_energies(trying, config)])
    metas = trying.metas
    if trying.compared:
        metas, note = chosen_by_cross_validation(trying, prepared, run, reporter)
        prepared = replace(prepared, notes=[*prepared.notes, note])
    jobs = [FitJob(fit, features, run.features, run.fit / fit.name) for fit in fits_of(metas, config)]
    fitted = fit_all(jobs, Placement.of(config.resources), run.tasks, "fits", reporter)
    fitted = with_averages(fitted, config, features["valid"], reporter)
    evaluation = evaluate(fitted, features, run.fit)
    chosen = save_stacks(prepared.base_models, fitted, evaluation, run, bundle, bool(prepared.in_sample))
    curves = learning_curves(evaluation, run, learning_curve, reporter)
    generations, notes = generations_until(inputs, evaluation, run)
    prepared = replace(prepared, notes=[*prepared.notes, *notes])
    results = StackResults.of(prepared, fitted, evaluation, chosen.uncertainty, curves, generations)
    for note in results.notes:
        reporter.warn(note)
    write_results(results, run)
    return StackRun(run.path, evaluation.errors, results.summary, results.notes, generations)


def plan_stack(config: Config, output: Path | None = None, models_folder: Path = DEFAULT_MODELS_FOLDER) -> Plan:
    """Return what `build_stack` would do, without doing it; parameters and errors as there.

    Where cross-validation chooses, all fits that it may ask for are in the plan.
    """
    inputs, trying, _, config = _resolved(config)
    run = run_of(inputs, "", config, output)
    to_choose = trainings_of(fits_of_choice(trying.compared, N_FOLDS, config.seed), run.choice, inputs, models_folder)
    final = trainings_of(fits_of(trying.all, config), run.fit, inputs, models_folder)
    return plan_of(inputs, models_folder, [*to_choose, *final])


def trainings_of(fits: Sequence[Fit], folder: Path, inputs: Inputs, models_folder: Path) -> list[Fitting]:
    """Return the work of those of `fits` that are trained, in subfolders of `folder`."""
    source = CachedFeatures(Place.of(inputs, models_folder))
    return [
        Fitting(
            fit.name,
            fit,
            () if fit.geometry_only else inputs.config.base_models,
            folder.absolute() / fit.name,
            source,
        )
        for fit in fits
        if fit.meta.sees_geometry
    ]


def _resolved(config: Config) -> tuple[Inputs, Tried, Tried, Config]:
    """Return inputs, meta-models, those where base models turn out to give no energies, and the settings filled in."""
    inputs = read_inputs(config)
    trying, without_energies = (tried(inputs.config, inputs.splits, energies) for energies in (None, False))
    check_average(trying.all, config)
    for meta in (*trying.all, *without_energies.all):
        if meta.trained:  # now, and not after the trainings of the base models
            check_device(meta.training)
    # What the number of structures decides, and what base models predict, is not among the settings of the run.
    if trying.compared:
        return _with_folds(inputs), trying, without_energies, inputs.config
    if left_open(inputs.config) and len(trying.metas) > 1:
        return inputs, trying, without_energies, inputs.config
    return inputs, trying, without_energies, with_resolved(inputs.config, trying.metas)


def _notes_on_energies(trying: Tried, config: Config) -> Iterator[str]:
    """Yield what the reader has to know where `auto` tries what it can without energies."""
    if trying.left_out:
        names = " and ".join(trying.left_out)
        yield f"without energies of every base model, and of the labels, these were not tried: {names}"
    try:
        check_average(trying.all, config)
    except ConfigError as problem:
        yield str(problem)


def _with_folds(inputs: Inputs) -> Inputs:
    """Return `inputs` with folds for out-of-fold features, if base models are to be trained on few structures."""
    few = len(inputs.splits.train_index) < ENOUGH_IN_SAMPLE
    if inputs.config.folds or not few or not any(model.needs_training for model in inputs.base_models):
        return inputs
    config = inputs.config.model_copy(update={"folds": N_FOLDS})
    try:
        make_folds(inputs.splits, config)
    except DataError:  # `chosen_by_cross_validation` says it
        return inputs
    return replace(inputs, config=config)


def chosen_by_cross_validation(
    trying: Tried, prepared: Prepared, run: RunFolder, reporter: Reporter
) -> tuple[list[NamedMeta], str]:
    """Return the meta-models that cross-validation on the training structures leaves, and a note on the choice.

    With in-sample features every meta-model that trusts the base models would look better than it is, so the usual
    ones are taken.
    """
    if prepared.in_sample:
        remedy = f"--folds {N_FOLDS} makes them out-of-fold and lets cross-validation choose"
        if len(prepared.splits.train_index) < ENOUGH_IN_SAMPLE:
            remedy = f"these structures cannot be cut into {N_FOLDS} folds for out-of-fold features"
        names = " and ".join(meta.name for meta in trying.metas)
        return trying.metas, (
            f"there was no cross-validation among meta-models, of which {names} were taken: the features of "
            f"{', '.join(prepared.in_sample)} are in-sample; {remedy}"
        )
    folds = prepared.splits.training_folds(N_FOLDS, prepared.config.data)
    choice = choose(
        trying.compared, prepared.features, folds, run.choice, prepared.config.seed, reporter,
        Placement.of(prepared.config.resources),
    )  # fmt: skip
    reporter.say(f"{choice}")
    return choice.metas, str(choice)


def save_stacks(
    models: list[NamedModel],
    fitted: Sequence[Fitted],
    evaluation: Evaluation,
    run: RunFolder,
    bundle: bool,
    in_sample: bool,
) -> Stack:
    """Save and return the stack of the run, the chosen meta-model with the base models.

    If there are several meta-models, each is also saved as its own stack.  The uncertainty of each stack is calibrated
    on validation structures; `in_sample` says whether base models were trained on the training ones.
    """
    saved = {}
    features = evaluation.features
    domain = Domain.fit(features["train"], features["valid"], in_sample)
    seen = SeenStructures.of(features["train"].structures, features["valid"].structures)
    first_fits = [result for result in fitted if result.fit.number == 0 and not result.fit.geometry_only]
    for result in first_fits:
        meta, valid = result.fit.meta, evaluation.predictions[result.fit.title]["valid"]
        uncertainty = Uncertainty.fit(features["valid"], valid, result.meta, domain)
        stack = Stack(models, meta.name, meta.options, result.meta, uncertainty, seen)
        if len(first_fits) > 1:
            stack.save(run.stacks / result.fit.name, bundle)
        if result is evaluation.chosen:
            stack.save(run.path, bundle)
        saved[result.fit.title] = stack
    return saved[evaluation.chosen.fit.title]
