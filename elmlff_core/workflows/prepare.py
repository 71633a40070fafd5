"""The way in for every workflow: read, resolve, check, train, predict, out-of-fold.

`read_inputs` does what takes no time and refuses what cannot be used; a workflow then opens its folder.  `prepare` does
what takes long: what comes out is all that a workflow needs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import (
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
from elmlff_core.base_models.trust import code_of
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.splits import Splits, read_splits
from elmlff_core.errors import ConfigError
from elmlff_core.resources import set_up_process
from elmlff_core.settings.config import Config, without_seeds
from elmlff_core.settings.run_folder import DEFAULT_RUNS_FOLDER, RunFolder


@dataclass(frozen=True)
class Inputs:
    """What a run starts from.

    Attributes
    ----------
    config : the settings, base models named
    splits : training, validation and test structures
    base_models : in the order of the settings; those that need training have no checkpoint yet
    """

    config: Config
    splits: Splits
    base_models: list[NamedModel]

    def key(self, kind: str, config: Config | None = None) -> str:
        """Hex digest of settings, data and given checkpoints, and of what `kind` of run they are for.

        `config` stands in for the settings where a workflow has filled in more of them.
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
    """What a workflow works on.

    Attributes
    ----------
    config : the settings
    splits : training, validation and test structures
    base_models : all with a checkpoint, where their adapter has checkpoints
    trained : names of those that were trained here, on the training structures
    folds : of the training structures, empty where none were asked for
    features : split -> predictions of the base models, with the labels
    """

    config: Config
    splits: Splits
    base_models: list[NamedModel]
    trained: tuple[str, ...]
    folds: list[Fold]
    features: dict[str, Features]

    @property
    def in_sample(self) -> tuple[str, ...]:
        """Base models whose features on training structures are in-sample."""
        return () if self.folds else self.trained

    @property
    def counts(self) -> dict[str, int]:
        """Split -> number of structures."""
        return {split: len(values) for split, values in self.features.items()}


def read_inputs(config: Config) -> Inputs:
    """Read data and resolve base models; nothing long is begun.

    Raises
    ------
    ElmlffError
        Data, settings or plugins that cannot be used; the message says what to do.
    """
    set_up_process()
    config = with_base_models(config)
    splits = read_splits(config.data)
    return Inputs(config, splits, [resolve_model(config, name) for name in config.base_models])


def open_run(inputs: Inputs, kind: str, config: Config, output: Path | None, any_seeds: bool = False) -> RunFolder:
    """The folder of a run: settings, data and given checkpoints decide whether it is the same run as before.

    Parameters
    ----------
    inputs : of the run
    kind : of workflow: the beginning of the folder's name, "" for a stack
    config : the settings, with all that the workflow has filled in
    output : the folder; by default one below ``elmlff-runs`` named after the settings
    any_seeds : whether the run is the same with any number of seeds, as each has a folder of its own
    """
    key = inputs.key(kind, without_seeds(config) if any_seeds else config)
    names = [kind, "+".join(config.base_models), "+".join(config.meta_names), key[:8]]
    return RunFolder.open(output or DEFAULT_RUNS_FOLDER / "-".join(filter(None, names)), key, config)


def prepare(inputs: Inputs, models_folder: Path, reporter: Reporter, plans: Iterable[str] = ()) -> Prepared:
    """Train base models where they have no checkpoint, and predict every structure with each of them.

    Parameters
    ----------
    inputs : of `read_inputs`
    models_folder : where models trained here live, to be found by later runs
    reporter : told what is going on
    plans : what the workflow will do with the features, said before anything long begins

    Raises
    ------
    ElmlffError
        Base models that cannot be trained or evaluated, or do not know the elements of the data.
    """
    config, splits = inputs.config, inputs.splits
    cache = FeatureCache()
    folds = make_folds(splits, config)
    announce(inputs, models_folder, reporter)
    for line in plans:
        reporter.say(line)
    check_elements(inputs.base_models, splits, cache)
    base_models = train_base_models(inputs, models_folder, reporter)
    trained = tuple(model.name for model in inputs.base_models if model.needs_training)
    features = base_features(base_models, splits, cache, reporter)
    retraining = Retraining(splits, config.seed, models_folder, cache, reporter)
    to_fold = [model for model in base_models if model.name in trained]
    features["train"] = out_of_fold(to_fold, features["train"], folds, retraining)
    return Prepared(config, splits, base_models, trained, folds, features)


def announce(inputs: Inputs, models_folder: Path, reporter: Reporter) -> None:
    """Say which data and base models are used, and what has to be trained."""
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
        what = f"{length.steps} steps, {length.epochs:.3g} epochs"
        folder = training_directory(model, splits.train, splits.valid, config.seed, models_folder)
        if trained_checkpoint(folder) is not None:
            reporter.say(f"{model.name}: adapter {model.plugin.name}, trained before ({what}) in {folder}")
        else:
            reporter.say(f"{model.name}: adapter {model.plugin.name}, to be trained ({config.budget}: {what})")
    to_train = ", ".join(model.name for model in inputs.base_models if model.needs_training)
    if config.folds and to_train:
        reporter.say(f"{to_train}: trained again without each of {config.folds} folds, for out-of-fold features")


def train_base_models(inputs: Inputs, models_folder: Path, reporter: Reporter) -> list[NamedModel]:
    """The base models, those without a checkpoint trained on the training structures.

    Test structures are not among those they see.
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
    """Predictions of every base model for training, validation and test structures, from the cache where known."""
    source = dataset_features(models, splits.source, cache, reporter)
    test = source if splits.test_source is None else dataset_features(models, splits.test_source, cache, reporter)
    for model in models:
        model.close()  # a worker's memory is better free while the meta-model is fitted
    return {
        "train": source.subset(splits.train_index),
        "valid": source.subset(splits.valid_index),
        "test": test.subset(splits.test_index),
    }


def train_one(config: Config, name: str, models_folder: Path, reporter: Reporter) -> Path:
    """Train the base model `name` on the training structures and return its checkpoint.

    ConfigError where it has a checkpoint or its adapter does not train.
    """
    inputs = read_inputs(config.model_copy(update={"base_models": (name,)}))
    (model,) = inputs.base_models
    if model.plugin.trainer is None:
        raise ConfigError(f"adapter '{model.plugin.name}' of model '{name}' does not train: give it a checkpoint")
    if model.checkpoint is not None:
        raise ConfigError(f"model '{name}' has a checkpoint, {model.checkpoint}: nothing to train")
    announce(inputs, models_folder, reporter)
    (trained,) = train_base_models(inputs, models_folder, reporter)
    assert trained.checkpoint is not None
    return trained.checkpoint


def in_sample_notes(models: Sequence[str]) -> list[str]:
    """What a reader should know of features of `models` that are in-sample."""
    if not models:
        return []
    return [
        f"Features of {', '.join(models)} on training structures are in-sample: these base models were trained on the "
        "structures that linear combinations and meta-models learn from; --folds K gives out-of-fold features."
    ]
