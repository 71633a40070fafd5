"""The story: read structures, get base predictions, fit the meta-model, evaluate, and leave a stack that runs anywhere.

Each step is a call into one of the rooms; none reaches back into an earlier one.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elmlff_core.config import Config
from elmlff_core.cores import use_all_cores
from elmlff_core.data.parts import Parts, read_parts
from elmlff_core.errors import ConfigError
from elmlff_core.features.cache import FeatureCache
from elmlff_core.features.features import Features
from elmlff_core.features.predict import dataset_features
from elmlff_core.models import (
    NamedModel,
    check_elements,
    resolve_model,
    train_model,
    trained_checkpoint,
    training_directory,
)
from elmlff_core.plugins import registry
from elmlff_core.protocols import FitRequest, MetaModel, Progress
from elmlff_core.report.evaluation import evaluate
from elmlff_core.report.table import Row, as_records, from_records, verdict, write_csv
from elmlff_core.reporter import Reporter
from elmlff_core.run_folder import METRICS_FILE, RunFolder
from elmlff_core.stack_folder import Stack, make_meta
from elmlff_core.training.budget import with_budget

DEFAULT_MODELS_FOLDER = Path("elmlff-models")
DEFAULT_RUNS_FOLDER = Path("elmlff-runs")


@dataclass(frozen=True)
class StackRun:
    """What `stack` leaves: the folder, the table, and one sentence about it."""

    folder: Path
    rows: list[Row]
    verdict: str


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
    config : data, models, meta-model and budgets
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
    use_all_cores()
    parts = read_parts(config.data)
    models = [resolve_model(config, name) for name in config.stack]
    meta, config = prepare_meta(config, parts)
    run = open_run(output, config, parts, models)
    if (finished := run.finished()) is not None:
        reporter.say(f"{run.path} is complete: showing its results")
        return StackRun(run.path, from_records(finished["rows"]), finished["verdict"])
    announce(config, parts, models, models_folder, reporter)
    check_elements(models, parts)
    train_bases(models, parts, config, models_folder, reporter)
    features = base_features(models, parts, FeatureCache(), reporter)
    seconds = fit(meta, config, features, run, reporter)
    fitted = Stack(models, config.meta_name, config.meta_options, meta)
    rows = evaluate(fitted, features, run)
    fitted.save(run.path, bundle)
    write_metrics(rows, config, parts, seconds, run)
    return StackRun(run.path, rows, verdict(rows))


def prepare_meta(config: Config, parts: Parts) -> tuple[MetaModel, Config]:
    """The meta-model, and the settings with what the budget means for it filled in."""
    plugin = registry().meta_model(config.meta_name)
    options = {**plugin.budgets.get(config.budget, {}), **config.meta_options}
    meta = make_meta(config.meta_name, options)
    training = config.training
    if plugin.trained:
        n_train, max_atoms = len(parts.train_index), int(parts.source.n_atoms.max())
        training = with_budget(training, config.budget, n_train, max_atoms)
    return meta, config.model_copy(update={"meta": {"name": config.meta_name, **options}, "training": training})


def open_run(output: Path | None, config: Config, parts: Parts, models: Sequence[NamedModel]) -> RunFolder:
    """The folder of this run: settings, data and given checkpoints decide whether it is the same run as before."""
    digest = hashlib.sha256(config.digest().encode())
    digest.update(parts.source.labels_fingerprint.encode())
    if parts.test_source is not None:
        digest.update(parts.test_source.labels_fingerprint.encode())
    for model in models:
        digest.update(json.dumps([model.name, model.options.model_dump(mode="json")], sort_keys=True).encode())
        if not model.needs_training:
            digest.update(model.force_field.fingerprint.encode())
    key = digest.hexdigest()
    name = f"{'+'.join(config.stack)}-{config.meta_name}-{key[:8]}"
    return RunFolder.open(output or DEFAULT_RUNS_FOLDER / name, key, config)


def announce(
    config: Config, parts: Parts, models: Sequence[NamedModel], models_folder: Path, reporter: Reporter
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
    if registry().meta_model(config.meta_name).trained:
        epochs, size = config.training.epochs or 0, config.training.batch_size
        options = ", ".join(f"{key} {value}" for key, value in config.meta_options.items())
        reporter.say(
            f"meta-model {config.meta_name}{f' ({options})' if options else ''}: {config.budget}: "
            f"{epochs * -(-n_train // size)} steps, {epochs} epochs of batches of {size}"
        )


def train_bases(
    models: Sequence[NamedModel], parts: Parts, config: Config, models_folder: Path, reporter: Reporter
) -> None:
    """Train the bases that have no checkpoint on the training structures; test structures are not among them."""
    to_train = [model for model in models if model.needs_training]
    for model in to_train:
        folder = training_directory(model, parts.train, parts.valid, config.seed, models_folder)
        with reporter.progress(f"training {model.name}") as progress:
            train_model(model, parts.train, parts.valid, config.seed, folder, progress)
    if to_train:
        names = ", ".join(model.name for model in to_train)
        reporter.warn(
            f"features of {names} on training structures are in-sample: these bases were trained on the structures "
            "the meta-model learns from; compare training and test errors in the table"
        )


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


def fit(meta: MetaModel, config: Config, features: dict[str, Features], run: RunFolder, reporter: Reporter) -> float:
    """Fit the meta-model on training structures, chosen by validation structures; return the seconds it took."""
    run.fit.mkdir(exist_ok=True)
    started = time.perf_counter()
    with reporter.progress(f"fitting {config.meta_name}") as progress:
        meta.fit(FitRequest(features["train"], features["valid"], config.training, run.fit, config.seed, progress))
        progress(Progress(1, 1))
    return time.perf_counter() - started


def write_metrics(rows: list[Row], config: Config, parts: Parts, seconds: float, run: RunFolder) -> None:
    """The table as CSV, then everything as JSON, whose presence says that the run is complete."""
    write_csv(rows, run.path / "metrics.csv")
    record: dict[str, Any] = {
        "verdict": verdict(rows),
        "rows": as_records(rows),
        "units": {"forces": "eV/Å", "energy": "eV/atom"},
        "meta": {"name": config.meta_name, "epochs": config.training.epochs, "seconds": round(seconds, 1)},
        "split": {name: getattr(parts, f"{name}_index").tolist() for name in ("train", "valid", "test")},
    }
    partial = run.path / (METRICS_FILE + ".partial")
    partial.write_text(json.dumps(record))
    partial.replace(run.path / METRICS_FILE)


def train_one(config: Config, name: str, models_folder: Path, reporter: Reporter) -> Path:
    """Train the base `name` on the training structures and return its checkpoint.

    ConfigError where it has a checkpoint or its adapter does not train.
    """
    use_all_cores()
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
