"""Base models of a workflow: what they are, their training, and their predictions for all structures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.prediction import dataset_features
from elmlff_core.base_models.training import train_model, trained_checkpoint, training_directory
from elmlff_core.base_models.trust import code_of
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.splits import Splits
from elmlff_core.errors import ConfigError
from elmlff_core.resources import set_up_process
from elmlff_core.settings.config import Config
from elmlff_core.workflows.inputs import Inputs, read_inputs


def announce(inputs: Inputs, models_folder: Path, reporter: Reporter) -> None:
    """Report the data, the base models, and which of them will be trained."""
    config, splits = inputs.config, inputs.splits
    held_out = "given" if splits.test_source is not None else f"{config.data.split} split"
    if splits.n_new is not None:
        kept = "" if splits.test_source is not None else f"those of {config.data.earlier_run}; "
        held_out = f"{kept}{splits.n_new} of the others are new"
    reporter.say(
        f"data: {splits.source.source}, {len(splits.train_index)} training, {len(splits.valid_index)} validation and "
        f"{len(splits.test_index)} test structures ({held_out})"
    )
    for model in inputs.base_models:
        about = f"{model.name}: adapter {model.plugin.name}{', with descriptors' if model.config.descriptors else ''}"
        if not model.needs_training:
            runs = f"; runs {' and '.join(wants)}" if (wants := code_of(model)) else ""
            reporter.say(f"{about}, {model.checkpoint or 'no checkpoint needed'}{runs}")
            continue
        length = model.length(len(splits.train_index))
        what = "; ".join(filter(None, [f"{length.steps} steps, {length.in_epochs}", length.note]))
        folder = training_directory(model, splits.train, splits.valid, config.seed, models_folder)
        if trained_checkpoint(folder) is not None:
            reporter.say(f"{about}, trained before ({what}) in {folder}")
        else:
            reporter.say(f"{about}, to be trained ({config.budget}: {what})")
    to_train = ", ".join(model.name for model in inputs.base_models if model.needs_training)
    if config.folds and to_train:
        reporter.say(f"{to_train}: retrained without each of {config.folds} folds, for out-of-fold features")


def train_base_models(inputs: Inputs, models_folder: Path, reporter: Reporter) -> list[NamedModel]:
    """Train base models without a checkpoint on the training structures, and return all base models.

    Test structures are never used in a training.
    """
    set_up_process()
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
    set_up_process()
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
