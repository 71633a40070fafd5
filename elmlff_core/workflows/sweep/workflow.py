"""The sweep workflow: prepare as for a stack, then evaluate all subsets of the base models by one or several methods.

Each fit has its own folder.  An interrupted sweep resumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elmlff_core.base_models.costs import measured_costs
from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.errors import ConfigError, did_you_mean
from elmlff_core.execution.placement import Placement
from elmlff_core.fits.fit import Fit
from elmlff_core.fits.meta_models import NamedMeta, resolve_meta_models, with_resolved
from elmlff_core.fits.tasks import FitTask, Fitting
from elmlff_core.meta.training.device import check_device
from elmlff_core.settings.config import Config
from elmlff_core.workflows.inputs import Inputs, open_run, read_inputs, run_of
from elmlff_core.workflows.plan import Plan, plan_of
from elmlff_core.workflows.prepare import preparation_notes, prepare
from elmlff_core.workflows.sweep.least_squares import empty_errors, least_squares_errors
from elmlff_core.workflows.sweep.masked import check_maskable, masked_errors
from elmlff_core.workflows.sweep.page import write_results
from elmlff_core.workflows.sweep.per_subset import per_subset_errors, subset_tasks
from elmlff_core.workflows.sweep.results import Sweep, summary
from elmlff_core.workflows.sweep.subsets import Subset, all_subsets, named_subsets, sampled_subsets
from elmlff_core.workflows.work import CachedFeatures, Place

METHODS = ("per-subset", "masked", "least-squares")
SELECTION_NOTE = (
    "Subsets are ranked by their validation error. The lowest of many test errors was selected on the test structures "
    "and is therefore too optimistic: it is shown for comparison only."
)


@dataclass(frozen=True)
class SweepRequest:
    """Settings of a sweep beside those of a run; another request in the same folder adds to its results.

    Attributes
    ----------
    methods : names of methods, from `METHODS`
    subsets : subsets for ``per-subset``, such as ``dp1+nep,nep``; None for all
    sample : number of random subsets for ``per-subset``, drawn by the seed; None for all
    """

    methods: Sequence[str] = ("least-squares",)
    subsets: str | None = None
    sample: int | None = None

    def check(self) -> None:
        """Raise ConfigError if the request is not valid."""
        if not self.methods:
            raise ConfigError(f"name at least one method: {', '.join(METHODS)}")
        if unknown := [method for method in self.methods if method not in METHODS]:
            raise ConfigError(f"no method is called '{unknown[0]}'{did_you_mean(unknown[0], METHODS)}")
        if self.subsets is not None and self.sample is not None:
            raise ConfigError("give --subsets or --sample, not both")

    def fitted_subsets(self, models: Sequence[str], seed: int) -> list[Subset]:
        """Return the subsets that ``per-subset`` fits."""
        if self.subsets is not None:
            return named_subsets(self.subsets, models)
        subsets = all_subsets(models)
        return subsets if self.sample is None else sampled_subsets(subsets, self.sample, seed)


@dataclass(frozen=True)
class SweepRun:
    """Result of `sweep`.

    Attributes
    ----------
    folder : folder of the sweep
    sweep : its results
    summaries : a sentence for each method
    config : settings, including options and epochs that were decided by the budget
    features : features of the splits ``train``, ``valid`` and ``test``
    """

    folder: Path
    sweep: Sweep
    summaries: list[str]
    config: Config
    features: dict[str, Features]


def sweep(
    config: Config,
    request: SweepRequest | None = None,
    output: Path | None = None,
    models_folder: Path = DEFAULT_MODELS_FOLDER,
    reporter: Reporter | None = None,
) -> SweepRun:
    """Compare all subsets of the base models.

    Parameters
    ----------
    config : settings as for `build_stack`, with one meta-model
    request : methods and subsets
    output : folder of the sweep; by default a folder in ``elmlff-runs`` named after the settings
    models_folder : folder for trained base models, where later runs find them
    reporter : receives messages and progress

    Raises
    ------
    ElmlffError
        Data, settings, plugins or base models cannot be used; the message explains what to do.
    """
    request, reporter = request or SweepRequest(), reporter or Reporter()
    placement = Placement.of(config.resources)
    inputs, meta, subsets, config = _resolved(config, request)
    models = inputs.config.base_models
    run = open_run(inputs, "sweep", config, output, any_seeds=True, named_by_meta=False)
    tasks: list[FitTask] = []
    if "per-subset" in request.methods:
        tasks = subset_tasks(subsets, meta, config.seed, run, CachedFeatures(Place.of(inputs, models_folder)))
        n_finished = sum(task.is_done for task in tasks)
        epochs = f", {meta.training.epochs or 0} epochs each" if meta.trained else ""
        reporter.say(f"per-subset: {meta.name} for {len(tasks)} subsets{epochs}, {n_finished} finished before")
    costs_file = run.path / "costs.json"
    prepared = prepare(inputs, models_folder, run.tasks, reporter, fits=tasks, costs=costs_file)
    for note in prepared.notes:
        reporter.warn(note)
    features = prepared.features
    costs = measured_costs(prepared.base_models, inputs.splits.train, costs_file, reporter)
    errors = []
    for method in dict.fromkeys(request.methods):
        if method == "least-squares":
            errors += least_squares_errors(all_subsets(models), features)
        elif method == "per-subset":
            errors += per_subset_errors(tasks, features, placement, run, reporter)
        else:
            errors += masked_errors(meta, config.seed, features, run.path / "masked", reporter)
    notes = [SELECTION_NOTE, *preparation_notes(prepared)]
    found = Sweep(models, meta.name, errors, empty_errors(features), costs, notes)
    write_results(found, features["train"].source, prepared.counts, run)
    summaries = [summary(found, method) for method in found.methods]
    return SweepRun(run.path, found, summaries, config, features)


def plan_sweep(
    config: Config,
    request: SweepRequest | None = None,
    output: Path | None = None,
    models_folder: Path = DEFAULT_MODELS_FOLDER,
) -> Plan:
    """Return what `sweep` would do, without doing it; parameters and errors as there."""
    request = request or SweepRequest()
    inputs, meta, subsets, config = _resolved(config, request)
    run = run_of(inputs, "sweep", config, output, any_seeds=True, named_by_meta=False)
    source, models = CachedFeatures(Place.of(inputs, models_folder)), inputs.config.base_models
    fits: list[Fitting] = []
    if "per-subset" in request.methods:
        fits += subset_tasks(subsets, meta, config.seed, run, source)
    if "masked" in request.methods:
        folder = run.path / "masked"
        fits.append(Fitting(f"{meta.name} with masks", Fit(meta, config.seed), models, folder, source))
    return plan_of(inputs, models_folder, fits if meta.trained else [])


def _resolved(config: Config, request: SweepRequest) -> tuple[Inputs, NamedMeta, list[Subset], Config]:
    """Return inputs, the meta-model, the subsets for which it is fitted, and the settings filled in."""
    request.check()
    inputs = read_inputs(config)
    subsets = request.fitted_subsets(inputs.config.base_models, config.seed)
    meta = sweep_meta_model(inputs, request)
    if meta.trained and set(request.methods) & {"per-subset", "masked"}:
        check_device(meta.training)
    return inputs, meta, subsets, with_resolved(inputs.config, [meta])


def sweep_meta_model(inputs: Inputs, request: SweepRequest) -> NamedMeta:
    """Return the meta-model of a sweep.

    Raises ConfigError if there are several, or if it cannot be masked and the method ``masked`` is requested.
    """
    metas = resolve_meta_models(inputs.config, inputs.splits)
    if len(metas) > 1:
        raise ConfigError(f"a sweep takes one meta-model, found {', '.join(meta.name for meta in metas)}")
    if "masked" in request.methods:
        check_maskable(metas[0])
    return metas[0]
