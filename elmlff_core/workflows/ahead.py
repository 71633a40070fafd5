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
from elmlff_core.base_models.prediction import dataset_features
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Reporter
from elmlff_core.execution.placement import Placement
from elmlff_core.execution.tasks import Task, run_tasks
from elmlff_core.settings.config import Config
from elmlff_core.workflows.base_models import train_base_models
from elmlff_core.workflows.inputs import Inputs, read_inputs


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


class Training(_Work):
    """Trains the base model on the training structures."""

    def __call__(self, reporter: Reporter) -> None:
        train_base_models(self.inputs, self.models_folder, reporter)


@dataclass(frozen=True)
class Predicting(_Work):
    """Predicts the structures of the data, or the given test structures, with the trained base model."""

    test: bool

    def __call__(self, reporter: Reporter) -> None:
        models = train_base_models(self.inputs, self.models_folder, reporter)
        dataset = self.inputs.splits.test_source if self.test else self.inputs.splits.source
        assert dataset is not None
        dataset_features(models, dataset, FeatureCache(self.cache), reporter)
        for model in models:
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

    def tasks(self, given_only: bool = False) -> list[Task]:
        """Return the tasks that are not done, those with base models that have a checkpoint first."""
        given = [model for model in self.inputs.base_models if not model.needs_training]
        to_train = [] if given_only else [model for model in self.inputs.base_models if model.needs_training]
        tasks = [task for model in given for task in self._predictions(model, ())]
        for model in to_train:
            tasks += self._with_training(model)
        return tasks

    def _with_training(self, model: NamedModel) -> Iterator[Task]:
        splits, seed = self.inputs.splits, self.inputs.config.seed
        folder = training_directory(model, splits.train, splits.valid, seed, self.models_folder)
        checkpoint = trained_checkpoint(folder)
        name = f"training {model.name}"
        if checkpoint is None:
            yield Task(name, Training(*self._common(model)))
        else:
            model = replace(model, checkpoint=checkpoint)
        yield from self._predictions(model, (name,) if checkpoint is None else ())
        for fold in self.folds:
            if not self._is_done(model, fold):
                yield Task(f"{name} without {fold}", WithoutFold(*self._common(model), fold.number))

    def _predictions(self, model: NamedModel, after: tuple[str, ...]) -> Iterator[Task]:
        for test, dataset in enumerate((self.inputs.splits.source, self.inputs.splits.test_source)):
            if dataset is not None and (model.needs_training or not self._is_known(model, dataset)):
                what = "test structures" if test else "structures"
                yield Task(f"predicting {what} with {model.name}", Predicting(*self._common(model), bool(test)), after)

    def _is_known(self, model: NamedModel, dataset: Dataset) -> bool:
        return self.cache.read(model.fingerprint, dataset.fingerprint, len(dataset)) is not None

    def _is_done(self, model: NamedModel, fold: Fold) -> bool:
        splits, seed = self.inputs.splits, self.inputs.config.seed
        retraining = Retraining(splits, seed, self.models_folder, self.cache, Reporter())
        model = replace(model, checkpoint=None)
        checkpoint = trained_checkpoint(retraining.directory(model, fold))
        return checkpoint is not None and self._is_known(replace(model, checkpoint=checkpoint), fold.held_out)

    def _common(self, model: NamedModel) -> tuple[Config, Path, Path]:
        config = self.inputs.config.model_copy(update={"base_models": (model.name,)})
        return config, self.models_folder, self.cache.directory


def do_ahead(tasks: Sequence[Task], inputs: Inputs, logs: Path, reporter: Reporter) -> None:
    """Run the tasks if there are workers for them; otherwise the workflow does the same work when it needs it."""
    placement = Placement.of(inputs.config.resources)
    if placement.runs_elsewhere(len(tasks)):
        for model in inputs.base_models:
            model.close()  # loaded to know its elements; the workers load it for themselves
        run_tasks(tasks, placement, logs, "base models", reporter)
