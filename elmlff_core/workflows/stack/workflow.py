"""The story: read structures, get base predictions, fit the meta-model, evaluate, and leave a stack that runs anywhere.

Each step is a call into one of the rooms; none reaches back into an earlier one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import (
    DEFAULT_MODELS_FOLDER,
    NamedModel,
    check_elements,
    resolve_model,
    train_model,
    trained_checkpoint,
    training_directory,
    with_base_models,
)
from elmlff_core.base_models.out_of_fold import Fold, Retraining, make_folds, out_of_fold
from elmlff_core.base_models.prediction import dataset_features
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.splits import Parts, read_parts
from elmlff_core.errors import ConfigError
from elmlff_core.evaluation.evaluation import Evaluation, evaluate, write_report
from elmlff_core.evaluation.model_errors import Row, as_records, from_records, write_csv
from elmlff_core.evaluation.summary import in_sample_note, verdict
from elmlff_core.fits.fit import Fitted, fit_all, fits_of, planned
from elmlff_core.fits.meta_models import NamedMeta, resolve_meta_models, with_resolved
from elmlff_core.resources import set_up_process
from elmlff_core.settings.config import Config
from elmlff_core.settings.run_folder import METRICS_FILE, RunFolder
from elmlff_core.stack.stack import Stack
from elmlff_core.uncertainty.uncertainty import Uncertainty
from elmlff_core.workflows.stack.report import diagnose_run, write_run_report

DEFAULT_RUNS_FOLDER = Path("elmlff-runs")


@dataclass(frozen=True)
class StackRun:
    """What `stack` leaves: the folder, the table, one sentence about it, and what a reader should know of it."""

    folder: Path
    rows: list[Row]
    verdict: str
    notes: list[str] = field(default_factory=list)


def stack(
    config: Config,
    output: Path | None = None,
    models_folder: Path = DEFAULT_MODELS_FOLDER,
    bundle: bool = False,
    reporter: Reporter | None = None,
) -> StackRun:
    """Stack base force fields into one: the whole of elmlff in one call.

    Parameters
    ----------
    config : data, models, meta-models, controls and budgets
    output : folder of the run; by default one below ``elmlff-runs`` named after the settings
    models_folder : where bases trained here live, to be found by later runs
    bundle : copy base checkpoints into the run folder instead of referencing them
    reporter : told what is going on

    Raises
    ------
    ElmlffError
        Data, settings, plugins or bases that cannot be used; the message says what to do.
    """
    reporter = reporter or Reporter()
    set_up_process()
    config = with_base_models(config)
    parts = read_parts(config.data)
    models = [resolve_model(config, name) for name in config.stack]
    metas = resolve_meta_models(config, parts)
    config = with_resolved(config, metas)
    run = open_run(output, config, parts, models)
    if (finished := run.finished()) is not None:
        reporter.say(f"{run.path} is complete: showing its results")
        return StackRun(run.path, from_records(finished["rows"]), finished["verdict"], finished["notes"])
    folds = make_folds(parts, config)
    announce(config, parts, models, metas, models_folder, reporter)
    check_elements(models, parts, FeatureCache())
    trained = train_bases(models, parts, config, models_folder, reporter)
    features = base_features(models, parts, FeatureCache(), reporter)
    retraining = Retraining(parts, config.seed, models_folder, FeatureCache(), reporter)
    features["train"] = out_of_fold(trained, features["train"], folds, retraining)
    fitted = fit_all(fits_of(metas, config), features, run, reporter)
    evaluation = evaluate(fitted, features, run.fit)
    chosen = save_stacks(models, fitted, evaluation, run, bundle)
    write_report(evaluation, run)
    diagnostics = diagnose_run(evaluation, parts, config.data.split)
    notes = notes_of(evaluation, models, trained, folds) + diagnostics.warnings
    for note in notes:
        reporter.warn(note)
    write_run_report(evaluation, diagnostics, chosen.uncertainty, notes, run)
    write_metrics(evaluation, fitted, notes, parts, folds, run)
    return StackRun(run.path, evaluation.rows, verdict(evaluation.rows), notes)


def open_run(output: Path | None, config: Config, parts: Parts, models: Sequence[NamedModel]) -> RunFolder:
    """The folder of this run: settings, data and given checkpoints decide whether it is the same run as before."""
    key = run_key(config, parts, models)
    name = f"{'+'.join(config.stack)}-{'+'.join(config.meta_names)}-{key[:8]}"
    return RunFolder.open(output or DEFAULT_RUNS_FOLDER / name, key, config)


def run_key(config: Config, parts: Parts, models: Sequence[NamedModel], kind: str = "") -> str:
    """Hex digest of settings, data and given checkpoints, and of what `kind` of run they are for."""
    digest = hashlib.sha256((kind + config.digest()).encode())
    digest.update(parts.source.labels_fingerprint.encode())
    if parts.test_source is not None:
        digest.update(parts.test_source.labels_fingerprint.encode())
    for model in models:
        digest.update(json.dumps([model.name, model.options.model_dump(mode="json")], sort_keys=True).encode())
        if not model.needs_training:
            digest.update(model.fingerprint.encode())
    return digest.hexdigest()


def announce(
    config: Config,
    parts: Parts,
    models: Sequence[NamedModel],
    metas: Sequence[NamedMeta],
    models_folder: Path,
    reporter: Reporter,
) -> None:
    """Say what is about to happen, before anything long begins."""
    n_train, n_valid, n_test = len(parts.train_index), len(parts.valid_index), len(parts.test_index)
    held_out = "given" if parts.test_source is not None else f"{config.data.split} split"
    reporter.say(
        f"data: {parts.source.source}, {n_train} training, {n_valid} validation and {n_test} test structures "
        f"({held_out})"
    )
    for model in models:
        if not model.needs_training:
            reporter.say(f"{model.name}: adapter {model.plugin.name}, {model.checkpoint or 'no checkpoint needed'}")
            continue
        length = model.length(n_train)
        what = f"{length.steps} steps, {length.epochs:.3g} epochs"
        folder = training_directory(model, parts.train, parts.valid, config.seed, models_folder)
        if trained_checkpoint(folder) is not None:
            reporter.say(f"{model.name}: adapter {model.plugin.name}, trained before ({what}) in {folder}")
        else:
            reporter.say(f"{model.name}: adapter {model.plugin.name}, to be trained ({config.budget}: {what})")
    if config.folds and (names := ", ".join(model.name for model in models if model.needs_training)):
        reporter.say(f"{names}: and once more without each of {config.folds} folds, for out-of-fold features")
    for line in planned(metas, config, n_train):
        reporter.say(line)


def train_bases(
    models: Sequence[NamedModel], parts: Parts, config: Config, models_folder: Path, reporter: Reporter
) -> list[NamedModel]:
    """Train the bases that have no checkpoint on the training structures, and return them.

    Test structures are not among those they see.
    """
    to_train = [model for model in models if model.needs_training]
    for model in to_train:
        folder = training_directory(model, parts.train, parts.valid, config.seed, models_folder)
        with reporter.progress(f"training {model.name}") as progress:
            train_model(model, parts.train, parts.valid, config.seed, folder, progress)
    return to_train


def base_features(
    models: Sequence[NamedModel], parts: Parts, cache: FeatureCache, reporter: Reporter
) -> dict[str, Features]:
    """Predictions of every base over the training, validation and test structures, from the cache where known."""
    source = dataset_features(models, parts.source, cache, reporter)
    test = source if parts.test_source is None else dataset_features(models, parts.test_source, cache, reporter)
    for model in models:
        model.close()  # a worker's memory is better free while the meta-model is fitted
    return {
        "train": source.subset(parts.train_index),
        "valid": source.subset(parts.valid_index),
        "test": test.subset(parts.test_index),
    }


def save_stacks(
    models: list[NamedModel], fitted: Sequence[Fitted], evaluation: Evaluation, run: RunFolder, bundle: bool
) -> Stack:
    """The chosen meta-model with its bases as the run's stack; where there are several, each as a stack of its own.

    Validation structures tell how sure each of them is.  Returns the run's stack.
    """
    saved = {}
    stacks = [entry for entry in fitted if entry.fit.number == 0 and not entry.fit.without_bases]
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


def notes_of(
    evaluation: Evaluation, models: Sequence[NamedModel], trained: Sequence[NamedModel], folds: Sequence[Fold]
) -> list[str]:
    """What a reader of the table should know of its features."""
    names = [model.name for model in trained]
    given = [model.name for model in models if model not in trained]
    notes = []
    if names and not folds:
        notes.append(in_sample_note(evaluation.rows, names))
    if names and folds:
        notes.append(f"features of {', '.join(names)} on training structures are out-of-fold, of {len(folds)} folds")
    if given and folds:
        notes.append(
            f"{', '.join(given)} cannot be folded, as they are not trained here: their features stay as they are, "
            "in-sample where they know the training structures"
        )
    return notes


def write_metrics(
    evaluation: Evaluation,
    fitted: Sequence[Fitted],
    notes: list[str],
    parts: Parts,
    folds: Sequence[Fold],
    run: RunFolder,
) -> None:
    """The table as CSV, then everything as JSON, whose presence says that the run is complete."""
    write_csv(evaluation.rows, run.path / "metrics.csv")
    chosen = evaluation.chosen.fit.meta
    record: dict[str, Any] = {
        "verdict": verdict(evaluation.rows),
        "notes": notes,
        "rows": as_records(evaluation.rows),
        "units": {"forces": "eV/Å", "energy": "eV/atom"},
        "meta": {"name": chosen.name, "options": chosen.options, "chosen_on": "valid rmse_per_frame"},
        "fits": [entry.as_record() for entry in fitted],
        "split": {name: getattr(parts, f"{name}_index").tolist() for name in ("train", "valid", "test")},
        "folds": [parts.train_index[fold.index].tolist() for fold in folds],
    }
    partial = run.path / (METRICS_FILE + ".partial")
    partial.write_text(json.dumps(record))
    partial.replace(run.path / METRICS_FILE)


def train_one(config: Config, name: str, models_folder: Path, reporter: Reporter) -> Path:
    """Train the base `name` on the training structures and return its checkpoint.

    ConfigError where it has a checkpoint or its adapter does not train.
    """
    set_up_process()
    model = resolve_model(config, name)
    if model.plugin.trainer is None:
        raise ConfigError(f"adapter '{model.plugin.name}' of model '{name}' does not train: give it a checkpoint")
    if model.checkpoint is not None:
        raise ConfigError(f"model '{name}' has a checkpoint, {model.checkpoint}: nothing to train")
    parts = read_parts(config.data)
    folder = training_directory(model, parts.train, parts.valid, config.seed, models_folder)
    length = model.length(len(parts.train_index))
    reporter.say(
        f"{name}: adapter {model.plugin.name}, {config.budget}: {length.steps} steps, {length.epochs:.3g} epochs of "
        f"{len(parts.train_index)} structures of {parts.source.source}"
    )
    with reporter.progress(f"training {name}") as progress:
        train_model(model, parts.train, parts.valid, config.seed, folder, progress)
    assert model.checkpoint is not None
    return model.checkpoint
