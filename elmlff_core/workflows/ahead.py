"""Work done ahead: trainings and predictions of base models as tasks, several at the same time.

A task leaves a trained model, or predictions in the cache.  The workflow then goes its usual way and finds everything
done, so its results do not depend on where, and in which order, the tasks ran.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.out_of_fold import Fold, Retraining, make_folds
from elmlff_core.base_models.prediction import chunk_size, predict_part
from elmlff_core.base_models.training import trained_checkpoint, training_amount, training_directory
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Reporter
from elmlff_core.execution.placement import PROCESSES, Placement
from elmlff_core.execution.tasks import Task, run_tasks
from elmlff_core.settings.config import Config
from elmlff_core.workflows.base_models import base_features, train_base_models
from elmlff_core.workflows.inputs import Inputs, read_inputs

ATOMS_WORTH_A_WORKER = 20_000  # a fast base model takes several seconds for as many
TRAINING_WORTH_A_WORKER = 2_000  # steps times atoms of a structure: about ten seconds
MANY = 10_000  # tasks: more than there are workers


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
class Part(_Work):
    """Predicts a part of the structures, or of the given test structures, with a base model that has a checkpoint."""

    test: bool
    part: range

    def __call__(self, reporter: Reporter) -> None:
        inputs = self.inputs
        (model,), dataset = inputs.base_models, inputs.splits.test_source if self.test else inputs.splits.source
        assert dataset is not None
        with reporter.progress(f"predicting with {model.name}") as progress:
            predict_part(model, dataset, self.part, FeatureCache(self.cache), progress)
        model.close()


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

    def predictions(self, n_workers: int) -> Iterator[Task]:
        """Yield the predictions with base models that have a checkpoint, as far as they are not in the cache.

        Large datasets are divided among `n_workers`.
        """
        given = [model for model in self.inputs.base_models if not model.needs_training]
        for test, dataset in enumerate(self.inputs.splits.datasets):
            for model in given:
                if not self._knows(model, dataset):
                    for part in parts_of(dataset, n_workers):
                        what = f"{'test ' if test else ''}structures {part.start} to {part.stop - 1}"
                        yield Task(f"predicting {what} with {model.name}", Part(*self._common(model), bool(test), part))

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
        return all(self._knows(model, dataset) for dataset in self.inputs.splits.datasets)

    def _knows(self, model: NamedModel, dataset: Dataset) -> bool:
        return self.cache.has(model.fingerprint, dataset.fingerprint, len(dataset))

    def _common(self, model: NamedModel) -> tuple[Config, Path, Path]:
        config = self.inputs.config.model_copy(update={"base_models": (model.name,)})
        return config, self.models_folder, self.cache.directory


def parts_of(dataset: Dataset, n_workers: int) -> list[range]:
    """Divide the structures of `dataset` into parts for workers, each of whole calls of a base model.

    Small datasets are one part: a worker takes seconds to load a base model.
    """
    n_atoms, size = sum(len(atoms) for atoms in dataset.structures), chunk_size(dataset.structures)
    n_parts = max(1, min(n_workers, n_atoms // ATOMS_WORTH_A_WORKER))
    calls = -(-len(dataset) // size)  # rounded up
    bounds = [min(size * (calls * number // n_parts), len(dataset)) for number in range(n_parts + 1)]
    return [range(start, stop, size) for start, stop in itertools.pairwise(bounds)]


def predict_ahead(ahead: Ahead, logs: Path, reporter: Reporter) -> None:
    """Predict with the base models that have a checkpoint, if that is worth workers.

    Base models in processes of their own predict at the same time without them.  The others are so fast that a process
    of this machine, which takes seconds to start, has to have much to do.
    """
    placement = Placement.of(ahead.inputs.config.resources)
    n_workers = placement.n_workers(MANY)
    parts = sum(len(parts_of(dataset, n_workers)) for dataset in ahead.inputs.splits.datasets)
    if placement.executor != PROCESSES or parts > len(ahead.inputs.splits.datasets):
        _do(list(ahead.predictions(n_workers)), ahead.inputs, logs, reporter)


def train_ahead(ahead: Ahead, logs: Path, reporter: Reporter) -> None:
    """Train the base models that need it, on all training structures and without folds, and predict with them.

    Processes on this machine are not started for trainings that take no longer than their start.
    """
    inputs = ahead.inputs
    structures = inputs.splits.train.structures
    amount = sum(training_amount(model, structures) for model in inputs.base_models if model.needs_training)
    if Placement.of(inputs.config.resources).executor != PROCESSES or amount > TRAINING_WORTH_A_WORKER:
        _do(ahead.trainings(), inputs, logs, reporter)


def _do(tasks: Sequence[Task], inputs: Inputs, logs: Path, reporter: Reporter) -> None:
    """Run the tasks if there are workers for them; otherwise the workflow does the same work when it needs it."""
    placement = Placement.of(inputs.config.resources)
    if placement.runs_elsewhere(len(tasks)):
        for model in inputs.base_models:
            model.close()  # loaded to know its elements; the workers load it for themselves
        run_tasks(tasks, placement, logs, "base models", reporter)
