"""The work of tasks, in words and paths: a worker reads the data itself, and finds the rest in files.

What one task leaves, a trained model or predictions in the cache, the next one finds as a workflow does.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.costs import measured_costs
from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.out_of_fold import Fold, Retraining, make_folds, out_of_fold
from elmlff_core.base_models.prediction import predict_part
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.evaluation.units import check_units_by_models
from elmlff_core.settings.config import Config, ResourcesConfig
from elmlff_core.workflows.base_models import base_features, train_base_models
from elmlff_core.workflows.inputs import Inputs, read_inputs


@dataclass(frozen=True)
class Place:
    """Where a workflow works.

    Attributes
    ----------
    config : the settings, as JSON
    models_folder, cache : absolute paths of the folders of trained models and of predictions
    given : the base models that need no training; these know their fingerprints, for which some have to be loaded
    """

    config: str
    models_folder: Path
    cache: Path
    given: tuple[NamedModel, ...]

    @classmethod
    def of(cls, inputs: Inputs, models_folder: Path) -> Place:
        """Return the place of a workflow with these inputs."""
        config = inputs.config.model_copy(update={"resources": ResourcesConfig()})  # those of a worker are its own
        trained, cache = models_folder.expanduser().absolute(), FeatureCache().directory.absolute()
        given = tuple(model for model in inputs.base_models if not model.needs_training)
        return cls(config.model_dump_json(), trained, cache, given)

    def inputs(self, base_models: Sequence[str]) -> Inputs:
        """Return the inputs with these base models alone; several tasks of a worker read them once."""
        inputs = _inputs(self.config)
        # Copies, because a loaded base model stays in memory as long as its object.
        found = {model.name: replace(model) for model in inputs.base_models} | {one.name: one for one in self.given}
        return replace(inputs, base_models=[found[name] for name in base_models])


@functools.lru_cache(maxsize=1)
def _inputs(config: str) -> Inputs:
    return read_inputs(Config.model_validate_json(config))


@dataclass(frozen=True)
class _OfModel:
    """Work on one base model: trained on all training structures, or without the fold of a number from 1."""

    place: Place
    model: str
    fold: int

    def trained(self, reporter: Reporter) -> tuple[NamedModel, Sequence[Dataset]]:
        """Return the base model, which is trained first if it needs that, and the datasets that it is to predict."""
        inputs = self.place.inputs((self.model,))
        if not self.fold:
            (model,) = train_base_models(inputs, self.place.models_folder, reporter)
            return model, inputs.splits.datasets
        fold = make_folds(inputs.splits, inputs.config)[self.fold - 1]
        cache = FeatureCache(self.place.cache)
        retraining = Retraining(inputs.splits, inputs.config.seed, self.place.models_folder, cache, reporter)
        return retraining.retrained(inputs.base_models[0], fold), [fold.held_out]


@dataclass(frozen=True)
class Training(_OfModel):
    """Trains the base model."""

    def __call__(self, reporter: Reporter) -> None:
        self.trained(reporter)


@dataclass(frozen=True)
class Part(_OfModel):
    """Predicts a part of one of the datasets."""

    dataset: int
    part: range

    def __call__(self, reporter: Reporter) -> None:
        model, datasets = self.trained(Reporter())  # by another task, so that there is nothing to say
        dataset, cache = datasets[self.dataset], FeatureCache(self.place.cache)
        with reporter.progress(f"predicting with {model.name}") as progress:
            predict_part(model, dataset.structures, dataset.fingerprint, self.part, cache, progress)
        model.close()


@dataclass(frozen=True)
class UnitsCheck:
    """Checks the units of the labels by the base models that are given, unless the settings say not to."""

    place: Place

    def __call__(self, reporter: Reporter) -> None:
        inputs = self.place.inputs([model.name for model in self.place.given])
        if not inputs.config.data.check_units:
            return
        features = base_features(inputs.base_models, inputs.splits, FeatureCache(self.place.cache), reporter)
        check_units_by_models(features["train"])


@dataclass(frozen=True)
class Timing:
    """Measures the time of base models that are trained, one after the other, and writes it to the file `path`."""

    place: Place
    base_models: tuple[str, ...]
    path: Path

    def __call__(self, reporter: Reporter) -> None:
        inputs = self.place.inputs(self.base_models)
        base_models = train_base_models(inputs, self.place.models_folder, Reporter())
        measured_costs(base_models, inputs.splits.train, self.path, reporter)


@dataclass(frozen=True)
class CachedFeatures:
    """The source of features for the fits of a workflow: the cache, where other tasks have left them."""

    place: Place

    def __call__(self, base_models: Sequence[str]) -> dict[str, Features]:
        inputs = self.place.inputs(base_models)
        folds, cache = make_folds(inputs.splits, inputs.config), FeatureCache(self.place.cache)
        return all_features(inputs, self.place.models_folder, cache, folds, Reporter())[1]


def all_features(
    inputs: Inputs, models_folder: Path, cache: FeatureCache, folds: Sequence[Fold], reporter: Reporter
) -> tuple[list[NamedModel], dict[str, Features]]:
    """Train and predict whatever is not done; return all base models, trained, and the features of each split.

    Features of the training structures are out-of-fold if there are `folds`.
    """
    base_models = train_base_models(inputs, models_folder, reporter)
    features = base_features(base_models, inputs.splits, cache, reporter)
    retraining = Retraining(inputs.splits, inputs.config.seed, models_folder, cache, reporter)
    to_fold = [model for model, given in zip(base_models, inputs.base_models, strict=True) if given.needs_training]
    return base_models, features | {"train": out_of_fold(to_fold, features["train"], folds, retraining)}
