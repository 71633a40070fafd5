"""The story of a sweep: base predictions as for a stack, then every subset of the bases by one way or several.

Each step is a call into one of the rooms.  A killed sweep goes on where it was: each fit has a folder of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.costs import measured_costs
from elmlff_core.base_models.named import (
    DEFAULT_MODELS_FOLDER,
    NamedModel,
    check_elements,
    resolve_model,
    with_base_models,
)
from elmlff_core.base_models.out_of_fold import Retraining, make_folds, out_of_fold
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.splits import Parts, read_parts
from elmlff_core.errors import ConfigError, did_you_mean
from elmlff_core.fits.executors import check_executor, opened
from elmlff_core.fits.meta_models import NamedMeta, resolve_meta_models, with_resolved
from elmlff_core.resources import n_cores, set_up_process, threads_for
from elmlff_core.settings.config import Config, without_seeds
from elmlff_core.settings.run_folder import RunFolder
from elmlff_core.workflows.stack.workflow import DEFAULT_RUNS_FOLDER, announce, base_features, run_key, train_bases
from elmlff_core.workflows.sweep.least_squares import empty_errors, linear_entries
from elmlff_core.workflows.sweep.masked import amortised_entries, check_maskable
from elmlff_core.workflows.sweep.per_subset import run_fits, subset_fits, write_features
from elmlff_core.workflows.sweep.results import Sweep, verdict
from elmlff_core.workflows.sweep.subset_errors import Entry, evaluated_parts
from elmlff_core.workflows.sweep.subsets import Subset, all_subsets, named_subsets, sampled_subsets

WAYS = ("each", "amortised", "linear")
SELECTION_NOTE = (
    "Subsets are ranked by validation. The lowest of many test errors was selected on the test structures and promises "
    "too much: it is shown for comparison alone."
)


@dataclass(frozen=True)
class SweepRequest:
    """What a sweep computes; another request for the same folder adds to what is there.

    Attributes
    ----------
    ways : of `WAYS`
    subsets : those that `each` fits, as ``dp1+nep,nep``; None for all
    sample : how many of all subsets `each` fits, drawn by the seed; None for all
    executor : ``processes``, ``serial``, or ``module:function`` which returns a `concurrent.futures.Executor`
    workers : how many of ``processes``; None for as many as there are cores
    """

    ways: Sequence[str] = ("linear",)
    subsets: str | None = None
    sample: int | None = None
    executor: str = "processes"
    workers: int | None = None

    def check(self) -> None:
        """ConfigError on what cannot be done."""
        if not self.ways:
            raise ConfigError(f"name at least one way: {', '.join(WAYS)}")
        if unknown := [way for way in self.ways if way not in WAYS]:
            raise ConfigError(f"no way is called '{unknown[0]}'{did_you_mean(unknown[0], WAYS)}")
        if self.subsets is not None and self.sample is not None:
            raise ConfigError("give --subsets or --sample, not both")
        check_executor(self.executor)

    def fitted_subsets(self, models: Sequence[str], seed: int) -> list[Subset]:
        """The subsets that `each` fits."""
        if self.subsets is not None:
            return named_subsets(self.subsets, models)
        subsets = all_subsets(models)
        return subsets if self.sample is None else sampled_subsets(subsets, self.sample, seed)


@dataclass(frozen=True)
class SweepRun:
    """What `sweep` leaves: the folder, what was found, a sentence for each way, and what it was found from.

    `config` has the options and epochs that were left to the budget; `features` are those of the parts ``train``,
    ``valid`` and ``test``.
    """

    folder: Path
    sweep: Sweep
    verdicts: list[str]
    config: Config
    features: dict[str, Features]


def sweep(
    config: Config,
    request: SweepRequest | None = None,
    output: Path | None = None,
    models_folder: Path = DEFAULT_MODELS_FOLDER,
    reporter: Reporter | None = None,
) -> SweepRun:
    """Find out what every subset of the bases is worth.

    Parameters
    ----------
    config : as for `stack`, with one meta-model
    request : ways, subsets and executor
    output : folder of the sweep; by default one below ``elmlff-runs`` named after the settings
    models_folder : where bases trained here live
    reporter : told what is going on

    Raises
    ------
    ElmlffError
        Data, settings, plugins or bases that cannot be used; the message says what to do.
    """
    request, reporter = request or SweepRequest(), reporter or Reporter()
    set_up_process()
    request.check()
    config = with_base_models(config)
    subsets = request.fitted_subsets(config.stack, config.seed)
    parts = read_parts(config.data)
    models = [resolve_model(config, name) for name in config.stack]
    meta = the_meta_model(config, parts, request)
    config = with_resolved(config, [meta])
    run = open_sweep(output, config, parts, models)
    features, in_sample = features_to_learn_from(config, parts, models, models_folder, reporter)
    costs = measured_costs(models, parts.train, run.path / "costs.json", reporter)
    entries = []
    for way in dict.fromkeys(request.ways):
        if way == "linear":
            entries += linear_entries(all_subsets(config.stack), features)
        elif way == "each":
            entries += each_entries(subsets, meta, features, config.seed, request, run, reporter)
        else:
            reporter.say(f"amortised: one {meta.name} for all subsets, {meta.training.epochs or 0} epochs")
            folder = run.path / "amortised"
            entries += amortised_entries(meta, config.seed, features, folder, reporter)
    notes = [SELECTION_NOTE, *in_sample_notes(in_sample)]
    found = Sweep(config.stack, meta.name, entries, empty_errors(features), costs, notes)
    write_results(found, features, run)
    return SweepRun(run.path, found, [verdict(found, way) for way in found.ways], config, features)


def features_to_learn_from(
    config: Config, parts: Parts, models: Sequence[NamedModel], models_folder: Path, reporter: Reporter
) -> tuple[dict[str, Features], list[str]]:
    """Base predictions as for a stack, bases trained first where need be, and the names of those that are in-sample."""
    folds = make_folds(parts, config)
    # What is fitted, with which seeds and controls, the caller says.
    bases_alone = config.model_copy(update={"seeds": 1, "control": False})
    announce(bases_alone, parts, models, [], models_folder, reporter)
    check_elements(models, parts, FeatureCache())
    trained = train_bases(models, parts, config, models_folder, reporter)
    features = base_features(models, parts, FeatureCache(), reporter)
    retraining = Retraining(parts, config.seed, models_folder, FeatureCache(), reporter)
    features["train"] = out_of_fold(trained, features["train"], folds, retraining)
    return features, [model.name for model in trained] if not folds else []


def the_meta_model(config: Config, parts: Parts, request: SweepRequest) -> NamedMeta:
    """The one meta-model of a sweep; ConfigError where there are several, or it cannot be what it should."""
    metas = resolve_meta_models(config, parts)
    if len(metas) > 1:
        raise ConfigError(f"a sweep takes one meta-model, found {', '.join(meta.name for meta in metas)}")
    if "amortised" in request.ways:
        check_maskable(metas[0])
    return metas[0]


def open_sweep(output: Path | None, config: Config, parts: Parts, models: Sequence[NamedModel]) -> RunFolder:
    """The folder of this sweep: settings, data and given checkpoints decide, not which ways are asked for."""
    key = run_key(without_seeds(config), parts, models, "sweep")
    name = f"sweep-{'+'.join(config.stack)}-{config.meta_names[0]}-{key[:8]}"
    return RunFolder.open(output or DEFAULT_RUNS_FOLDER / name, key, config)


def each_entries(
    subsets: Sequence[Subset],
    meta: NamedMeta,
    features: dict[str, Features],
    seed: int,
    request: SweepRequest,
    run: RunFolder,
    reporter: Reporter,
) -> list[Entry]:
    """The meta-model fitted for each of `subsets`; finished ones are read."""
    n_workers = min(request.workers or n_cores(), len(subsets))
    n_threads = threads_for(n_workers)
    feature_files = run.path / "features"
    tasks = subset_fits(
        subsets, meta, seed, run.path / "each", feature_files, n_threads if request.executor == "processes" else None
    )
    left = [task for task in tasks if task.finished is None]
    epochs = f", {meta.training.epochs or 0} epochs each" if meta.trained else ""
    reporter.say(f"each: {meta.name} for {len(tasks)} subsets{epochs}, {len(tasks) - len(left)} finished before")
    if left:
        write_features(features, evaluated_parts(features), feature_files)
        with (
            reporter.progress(f"fitting {meta.name} for each subset") as progress,
            opened(request.executor, n_workers, n_threads) as executor,
        ):
            run_fits(left, executor, progress)
    return [task.finished or _unfinished(task.folder) for task in tasks]


def _unfinished(folder: Path) -> Entry:
    raise ConfigError(f"a worker left no result in {folder}: does it see the folder of the sweep under the same path?")


def in_sample_notes(models: Sequence[str]) -> list[str]:
    """What a reader should know of features of `models`, trained on the structures others learn from."""
    if not models:
        return []
    return [
        f"Features of {', '.join(models)} on training structures are in-sample: these bases were trained on the "
        "structures the mixes and meta-models learn from; --folds K gives out-of-fold features."
    ]


def write_results(found: Sweep, features: dict[str, Features], run: RunFolder) -> None:
    """``sweep.json``, ``sweep.csv``, pictures and the page."""
    from elmlff_core.workflows.sweep.report import write_sweep_report  # matplotlib, which nothing before needs

    counts = {part: len(values) for part, values in features.items()}
    write_sweep_report(found, features["train"].source, counts, run)
