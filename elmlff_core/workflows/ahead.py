"""Work done ahead: trainings and predictions of base models as tasks, several at the same time.

A task leaves a trained model, or predictions in the cache.  The workflow then goes its usual way and finds everything
done, so its results do not depend on where, and in which order, the tasks ran.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import NamedModel, trained_checkpoint, training_directory
from elmlff_core.base_models.out_of_fold import Fold, Retraining, make_folds
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Reporter
from elmlff_core.execution.placement import PROCESSES, Placement
from elmlff_core.execution.tasks import Task, run_tasks
from elmlff_core.settings.config import Config
from elmlff_core.workflows.base_models import base_features, train_base_models
from elmlff_core.workflows.inputs import Inputs, read_inputs

ATOMS_WORTH_A_PROCESS = 50_000  # a fast base model takes several seconds for as many


@dataclass(frozen=True)
class _Work:
    """Work on one base model, in words and paths: a worker reads the data itself.

    Attributes
    ----------
    config : the settings, with this base model alone
    models_folder, cache : folders of trained models and of predictions
    """

    config: Config
    models_folder: Path
    cache: Path

    @property
    def inputs(self) -> Inputs:
        """The inputs; a worker reads those of several tasks once."""
        return _inputs(self.config.model_dump_json())


@functools.lru_cache(maxsize=4)
def _inputs(config: str) -> Inputs:
    return read_inputs(Config.model_validate_json(config))


class Whole(_Work):
    """Trains the base model, if it needs that, and predicts all structures."""

    def __call__(self, reporter: Reporter) -> None:
        inputs = self.inputs
        models = train_base_models(inputs, self.models_folder, reporter)
        base_features(models, inputs.splits, FeatureCache(self.cache), reporter)


@dataclass(frozen=True)
class WithoutFold(_Work):
    """Trains the base model without one fold of the training structures, and predicts the fold."""

    number: int

    def __call__(self, reporter: Reporter) -> None:
        inputs = self.inputs
        fold = make_folds(inputs.splits, self.config)[self.number - 1]
        retraining = Retraining(inputs.splits, self.config.seed, self.models_folder, FeatureCache(self.cache), reporter)
        retraining.features(inputs.base_models[0], fold)


@dataclass(frozen=True)
class Ahead:
    """What can be done ahead for a workflow.

    Attributes
    ----------
    inputs : inputs of the workflow
    models_folder : folder for trained base models
    cache : predictions
    folds : folds of the training structures
    """

    inputs: Inputs
    models_folder: Path
    cache: FeatureCache
    folds: list[Fold]

    def predictions(self) -> list[Task]:
        """Return the predictions with base models that have a checkpoint, as far as they are not in the cache."""
        given = [model for model in self.inputs.base_models if not model.needs_training]
        return [
            Task(f"predicting with {model.name}", Whole(*self._common(model)))
            for model in given
            if not self._has_predicted(model)
        ]

    def trainings(self) -> list[Task]:
        """Return the trainings that are not finished: on all training structures, and without each of the folds."""
        return [
            task
            for model in self.inputs.base_models
            if model.needs_training
            for task in (*self._training(model), *self._without_folds(model))
        ]

    def _training(self, model: NamedModel) -> Iterator[Task]:
        splits, seed = self.inputs.splits, self.inputs.config.seed
        folder = training_directory(model, splits.train, splits.valid, seed, self.models_folder)
        checkpoint = trained_checkpoint(folder)
        if checkpoint is None or not self._has_predicted(replace(model, checkpoint=checkpoint)):
            yield Task(f"training {model.name}", Whole(*self._common(model)))

    def _without_folds(self, model: NamedModel) -> Iterator[Task]:
        splits, seed = self.inputs.splits, self.inputs.config.seed
        retraining = Retraining(splits, seed, self.models_folder, self.cache, Reporter())
        for fold in self.folds:
            checkpoint = trained_checkpoint(retraining.directory(model, fold))
            if checkpoint is None or not self._knows(replace(model, checkpoint=checkpoint), fold.held_out):
                work = WithoutFold(*self._common(model), fold.number)
                yield Task(f"training {model.name} without {fold}", work)

    def _has_predicted(self, model: NamedModel) -> bool:
        datasets = filter(None, (self.inputs.splits.source, self.inputs.splits.test_source))
        return all(self._knows(model, dataset) for dataset in datasets)

    def _knows(self, model: NamedModel, dataset: Dataset) -> bool:
        return self.cache.read(model.fingerprint, dataset.fingerprint, len(dataset)) is not None

    def _common(self, model: NamedModel) -> tuple[Config, Path, Path]:
        config = self.inputs.config.model_copy(update={"base_models": (model.name,)})
        return config, self.models_folder, self.cache.directory


def predict_ahead(ahead: Ahead, logs: Path, reporter: Reporter) -> None:
    """Predict with the base models that have a checkpoint, if that is worth workers.

    Base models in processes of their own predict at the same time without them.  The others are so fast that a process
    of this machine, which takes seconds to start, has to have much to do.
    """
    splits, placement = ahead.inputs.splits, Placement.of(ahead.inputs.config.resources)
    n_atoms = sum(len(atoms) for data in filter(None, (splits.source, splits.test_source)) for atoms in data.structures)
    if placement.executor != PROCESSES or n_atoms > ATOMS_WORTH_A_PROCESS:
        _do(ahead.predictions(), ahead.inputs, logs, reporter)


def train_ahead(ahead: Ahead, logs: Path, reporter: Reporter) -> None:
    """Train the base models that need it, on all training structures and without folds, and predict with them."""
    _do(ahead.trainings(), ahead.inputs, logs, reporter)


def _do(tasks: Sequence[Task], inputs: Inputs, logs: Path, reporter: Reporter) -> None:
    """Run the tasks if there are workers for them; otherwise the workflow does the same work when it needs it."""
    placement = Placement.of(inputs.config.resources)
    if placement.runs_elsewhere(len(tasks)):
        for model in inputs.base_models:
            model.close()  # loaded to know its elements; the workers load it for themselves
        run_tasks(tasks, placement, logs, "base models", reporter)
