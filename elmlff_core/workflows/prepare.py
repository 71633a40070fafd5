"""Preparation for all workflows: read data, resolve, check and train base models, predict features.

`read_inputs` takes little time and rejects inputs that cannot be used; a workflow then opens its folder.  `prepare`
does the long work and returns everything that a workflow needs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.checks import check_elements, check_unused_models
from elmlff_core.base_models.named import (
    NamedModel,
    resolve_model,
    seen_in_training,
    train_model,
    trained_checkpoint,
    training_directory,
    with_base_models,
)
from elmlff_core.base_models.out_of_fold import Fold, Retraining, make_folds, out_of_fold
from elmlff_core.base_models.prediction import dataset_features
from elmlff_core.base_models.trust import code_of
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.splits import Splits, read_splits
from elmlff_core.data.units import check_units
from elmlff_core.errors import ConfigError
from elmlff_core.evaluation.leakage import leakage_notes
from elmlff_core.evaluation.units import check_units_by_models
from elmlff_core.resources import set_up_process
from elmlff_core.settings.config import Config, without_seeds
from elmlff_core.settings.run_folder import DEFAULT_RUNS_FOLDER, RunFolder


@dataclass(frozen=True)
class Inputs:
    """Inputs of a run.

    Attributes
    ----------
    config : the settings, with the names of the base models filled in
    splits : training, validation and test structures
    base_models : base models in the order of the settings; those that need training have no checkpoint yet
    """

    config: Config
    splits: Splits
    base_models: list[NamedModel]

    def key(self, kind: str, config: Config | None = None) -> str:
        """Return the hex digest of the `kind` of run and of its settings, data and given checkpoints.

        `config` replaces the settings if a workflow has filled in more of them.
        """
        digest = hashlib.sha256((kind + (config or self.config).digest()).encode())
        digest.update(self.splits.source.labels_fingerprint.encode())
        if self.splits.test_source is not None:
            digest.update(self.splits.test_source.labels_fingerprint.encode())
        for model in self.base_models:
            digest.update(json.dumps([model.name, model.options.model_dump(mode="json")], sort_keys=True).encode())
            if not model.needs_training:
                digest.update(model.fingerprint.encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Prepared:
    """Prepared inputs of a workflow.

    Attributes
    ----------
    config : the settings
    splits : training, validation and test structures
    base_models : base models, all with a checkpoint if their adapter uses checkpoints
    trained : names of the base models that elmlff trained on the training structures
    folds : folds of the training structures, empty if none were requested
    features : split -> predictions of the base models, with the labels
    notes : notes for the reader on base models that were, or may have been, trained on test structures
    """

    config: Config
    splits: Splits
    base_models: list[NamedModel]
    trained: tuple[str, ...]
    folds: list[Fold]
    features: dict[str, Features]
    notes: list[str]

    @property
    def in_sample(self) -> tuple[str, ...]:
        """Base models whose features on training structures are in-sample."""
        return () if self.folds else self.trained

    @property
    def counts(self) -> dict[str, int]:
        """Number of structures of each split."""
        return {split: len(values) for split, values in self.features.items()}


def read_inputs(config: Config) -> Inputs:
    """Read data and resolve base models, without starting long work.

    Raises
    ------
    ElmlffError
        Data, settings or plugins cannot be used; the message explains what to do.
    """
    set_up_process()
    config = with_base_models(config)
    check_unused_models(config)
    splits = read_splits(config.data)
    if config.data.check_units:
        for dataset in filter(None, (splits.source, splits.test_source)):
            check_units(dataset)
    return Inputs(config, splits, [resolve_model(config, name) for name in config.base_models])


def open_run(
    inputs: Inputs,
    kind: str,
    config: Config,
    output: Path | None,
    any_seeds: bool = False,
    named_by_meta: bool = True,
) -> RunFolder:
    """Open the folder of a run; settings, data and given checkpoints decide whether it is the same run as before.

    Parameters
    ----------
    inputs : inputs of the run
    kind : kind of workflow, the beginning of the folder's name; "" for a stack
    config : the settings, including those that the workflow has filled in
    output : folder of the run; by default a folder in ``elmlff-runs`` named after the settings
    any_seeds : whether a different number of seeds is the same run, because each fit has its own folder
    named_by_meta : whether the default name has the meta-models in it; a sweep may use none
    """
    key = inputs.key(kind, without_seeds(config) if any_seeds else config)
    metas = "+".join(config.meta_names) if named_by_meta else ""
    names = [kind, "+".join(config.base_models), metas, key[:8]]
    return RunFolder.open(output or DEFAULT_RUNS_FOLDER / "-".join(filter(None, names)), key, config)


def prepare(inputs: Inputs, models_folder: Path, reporter: Reporter, plans: Iterable[str] = ()) -> Prepared:
    """Train base models without a checkpoint, and predict all structures with each base model.

    Parameters
    ----------
    inputs : result of `read_inputs`
    models_folder : folder for trained base models, where later runs find them
    reporter : receives messages and progress
    plans : lines on what the workflow will do, reported before the long work starts

    Raises
    ------
    ElmlffError
        A base model cannot be trained or evaluated, or does not support the elements of the data; or the labels are in
        other units than those of the given base models.
    """
    config, splits = inputs.config, inputs.splits
    cache = FeatureCache()
    folds = make_folds(splits, config)
    announce(inputs, models_folder, reporter)
    for line in plans:
        reporter.say(line)
    check_elements(inputs.base_models, splits, cache)
    given = [model for model in inputs.base_models if not model.needs_training]
    if given and config.data.check_units:  # before trainings, which may take hours; these predictions are used again
        check_units_by_models(base_features(given, splits, cache, reporter)["train"])
    base_models = train_base_models(inputs, models_folder, reporter)
    trained = tuple(model.name for model in inputs.base_models if model.needs_training)
    features = base_features(base_models, splits, cache, reporter)
    retraining = Retraining(splits, config.seed, models_folder, cache, reporter)
    to_fold = [model for model in base_models if model.name in trained]
    features["train"] = out_of_fold(to_fold, features["train"], folds, retraining)
    notes = leakage_notes(features, {model.name: seen_in_training(model) for model in given})
    return Prepared(config, splits, base_models, trained, folds, features, notes)


def announce(inputs: Inputs, models_folder: Path, reporter: Reporter) -> None:
    """Report the data, the base models, and which of them will be trained."""
    config, splits = inputs.config, inputs.splits
    held_out = "given" if splits.test_source is not None else f"{config.data.split} split"
    reporter.say(
        f"data: {splits.source.source}, {len(splits.train_index)} training, {len(splits.valid_index)} validation and "
        f"{len(splits.test_index)} test structures ({held_out})"
    )
    for model in inputs.base_models:
        if not model.needs_training:
            runs = f"; runs {' and '.join(wants)}" if (wants := code_of(model)) else ""
            reporter.say(
                f"{model.name}: adapter {model.plugin.name}, {model.checkpoint or 'no checkpoint needed'}{runs}"
            )
            continue
        length = model.length(len(splits.train_index))
        what = "; ".join(filter(None, [f"{length.steps} steps, {length.epochs:.3g} epochs", length.note]))
        folder = training_directory(model, splits.train, splits.valid, config.seed, models_folder)
        if trained_checkpoint(folder) is not None:
            reporter.say(f"{model.name}: adapter {model.plugin.name}, trained before ({what}) in {folder}")
        else:
            reporter.say(f"{model.name}: adapter {model.plugin.name}, to be trained ({config.budget}: {what})")
    to_train = ", ".join(model.name for model in inputs.base_models if model.needs_training)
    if config.folds and to_train:
        reporter.say(f"{to_train}: retrained without each of {config.folds} folds, for out-of-fold features")


def train_base_models(inputs: Inputs, models_folder: Path, reporter: Reporter) -> list[NamedModel]:
    """Train base models without a checkpoint on the training structures, and return all base models.

    Test structures are never used in a training.
    """
    splits, seed = inputs.splits, inputs.config.seed
    ready = []
    for model in inputs.base_models:
        if model.needs_training:
            folder = training_directory(model, splits.train, splits.valid, seed, models_folder)
            with reporter.progress(f"training {model.name}") as progress:
                model = train_model(model, splits.train, splits.valid, seed, folder, progress)
        ready.append(model)
    return ready


def base_features(
    models: Sequence[NamedModel], splits: Splits, cache: FeatureCache, reporter: Reporter
) -> dict[str, Features]:
    """Predict training, validation and test structures with every base model; cached predictions are read."""
    source = dataset_features(models, splits.source, cache, reporter)
    test = source if splits.test_source is None else dataset_features(models, splits.test_source, cache, reporter)
    for model in models:
        model.close()  # free the memory of workers before the meta-model is fitted
    return {
        "train": source.subset(splits.train_index),
        "valid": source.subset(splits.valid_index),
        "test": test.subset(splits.test_index),
    }


def train_one(config: Config, name: str, models_folder: Path, reporter: Reporter) -> Path:
    """Train the base model `name` on the training structures and return its checkpoint.

    Raises ConfigError if it has a checkpoint or its adapter cannot train.
    """
    inputs = read_inputs(config.model_copy(update={"base_models": (name,)}))
    (model,) = inputs.base_models
    if model.plugin.trainer is None:
        raise ConfigError(f"adapter '{model.plugin.name}' of model '{name}' cannot train: give the model a checkpoint")
    if model.checkpoint is not None:
        raise ConfigError(f"model '{name}' has a checkpoint, {model.checkpoint}: there is nothing to train")
    announce(inputs, models_folder, reporter)
    (trained,) = train_base_models(inputs, models_folder, reporter)
    assert trained.checkpoint is not None
    return trained.checkpoint


def preparation_notes(prepared: Prepared) -> list[str]:
    """Return notes for a page on the in-sample features of base models, and on those trained on test structures."""
    in_sample = ", ".join(prepared.in_sample)
    if not in_sample:
        return prepared.notes
    return [
        *prepared.notes,
        f"Features of {in_sample} on training structures are in-sample: these base models were trained on the "
        "structures from which linear combinations and meta-models learn. Use --folds K for out-of-fold features.",
    ]
