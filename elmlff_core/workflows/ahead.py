"""Work done ahead: trainings, predictions and fits as tasks, each as soon as what it needs is there.

Tasks leave their results in files: trained models, predictions in the cache, fits in their folders.  The workflow then
goes its usual way and finds everything done, so its results do not depend on where, and in which order, the tasks ran.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ase import Atoms

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.out_of_fold import Fold, Retraining
from elmlff_core.base_models.prediction import chunk_size
from elmlff_core.base_models.training import trained_checkpoint, training_amount, training_directory
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Reporter
from elmlff_core.execution.placement import PROCESSES, Placement
from elmlff_core.execution.tasks import Task, run_tasks, width
from elmlff_core.fits.tasks import AMOUNT_WORTH_A_WORKER, Fitting, most_devices
from elmlff_core.workflows.inputs import Inputs
from elmlff_core.workflows.work import Part, Place, Timing, Training, UnitsCheck

ATOMS_WORTH_A_WORKER = 20_000  # a fast base model takes several seconds for as many
TRAINING_WORTH_A_WORKER = 2_000  # steps times atoms of a structure: about ten seconds
MANY = 10_000  # tasks: more than there are workers
CHECK = "checking units"


@dataclass(frozen=True)
class Ahead:
    """What can be done ahead for a workflow.

    Attributes
    ----------
    inputs : inputs of the workflow
    models_folder : folder for trained base models
    cache : predictions
    folds : folds of the training structures
    fits : fits of meta-models
    costs : absolute path of the file for the times of base models, if the workflow wants them
    """

    inputs: Inputs
    models_folder: Path
    cache: FeatureCache
    folds: Sequence[Fold]
    fits: Sequence[Fitting] = ()
    costs: Path | None = None

    def tasks(self) -> list[Task]:
        """Return the tasks that are worth workers; none if the workflow is to do all in its own process.

        A process of this machine takes seconds to start, so it has to have much to do.
        """
        n_workers = self._placement.n_workers(MANY)
        of_models = {model.name: self._worthy(model, n_workers) for model in self.inputs.base_models}
        given = [task.name for model in self._given for task in of_models[model.name]]
        found = [task for tasks in of_models.values() for task in tasks]
        if given:  # before trainings, which may take hours
            found.append(Task(CHECK, UnitsCheck(Place.of(self.inputs, self.models_folder)), tuple(given)))
        for fit in self._fits if self._long else ():
            found.append(fit.task(tuple(task.name for name in fit.base_models for task in of_models[name])))
        if self.costs and not self.costs.exists() and self._placement.executor != PROCESSES:
            # By a machine that does the work, and alone, after all else: beside other tasks it would measure these.
            timing = Timing(Place.of(self.inputs, self.models_folder), self.inputs.config.base_models, self.costs)
            found.append(Task("timing", timing, tuple(task.name for task in found)))
        return found if self._placement.runs_elsewhere(width(found)) else []

    def of_model(self, model: NamedModel, n_workers: int) -> list[Task]:
        """Return what is left to do with a base model: its training, and its predictions for all structures.

        Large datasets are divided among `n_workers`.
        """
        splits, seed = self.inputs.splits, self.inputs.config.seed
        checkpoint = None
        if model.needs_training:
            folder = training_directory(model, splits.train, splits.valid, seed, self.models_folder)
            checkpoint = trained_checkpoint(folder)
        return list(self._left(model, checkpoint, splits.datasets, None, n_workers))

    def of_fold(self, model: NamedModel, fold: Fold, n_workers: int) -> list[Task]:
        """Return what is left to do with a base model without one fold, as `of_model` does."""
        retraining = Retraining(self.inputs.splits, self.inputs.config.seed, self.models_folder, self.cache, Reporter())
        checkpoint = trained_checkpoint(retraining.directory(model, fold))
        return list(self._left(model.with_descriptors(False), checkpoint, [fold.held_out], fold, n_workers))

    def _left(
        self, model: NamedModel, checkpoint: Path | None, datasets: Sequence[Dataset], fold: Fold | None, n_workers: int
    ) -> Iterator[Task]:
        place = Place.of(self.inputs, self.models_folder)
        common = place, model.name, fold.number if fold else 0
        after: tuple[str, ...] = ()
        parts = [parts_of(dataset.structures, n_workers) for dataset in datasets]
        if model.needs_training and checkpoint is None:
            name = f"training {model.name}{f' without {fold}' if fold else ''}"
            yield Task(name, Training(*common), (CHECK,))
            after = (name,)  # not one task: the next training of this worker need not wait for the predictions
        for number, (dataset, some) in enumerate(zip(datasets, parts, strict=True)):
            if not after and self._knows(replace(model, checkpoint=checkpoint or model.checkpoint), dataset):
                continue
            of = f"structures of {fold}," if fold else f"{'test ' if number else ''}structures"
            for part in some:
                what = f"{of} {part.start} to {part.stop - 1}"
                yield Task(f"predicting {what} with {model.name}", Part(*common, number, part), after)

    def _worthy(self, model: NamedModel, n_workers: int) -> list[Task]:
        """Return what is left to do with a base model, if that is worth workers."""
        if model.needs_training:
            if not self._long:
                return []
            of_folds = [task for fold in self.folds for task in self.of_fold(model, fold, n_workers)]
            return [*self.of_model(model, n_workers), *of_folds]
        # Base models in processes of their own predict small datasets at the same time without workers.
        is_large = any(len(parts_of(dataset.structures, n_workers)) > 1 for dataset in self.inputs.splits.datasets)
        return self.of_model(model, n_workers) if is_large or self._placement.executor != PROCESSES else []

    @property
    def _long(self) -> bool:
        """Whether trainings and fits are worth workers."""
        if self._placement.executor != PROCESSES:
            return True
        structures = self.inputs.splits.train.structures
        to_train = [model for model in self.inputs.base_models if model.needs_training]
        return (
            sum(training_amount(model, structures) for model in to_train) > TRAINING_WORTH_A_WORKER
            or sum(one.fit.amount(structures) for one in self._fits) > AMOUNT_WORTH_A_WORKER
        )

    @property
    def _fits(self) -> list[Fitting]:
        """The fits that are left; those on several devices need other workers than trainings, and come after them."""
        return [] if most_devices(self.fits) > 1 else [fit for fit in self.fits if not fit.is_done]

    @property
    def _given(self) -> list[NamedModel]:
        return [model for model in self.inputs.base_models if not model.needs_training]

    @property
    def _placement(self) -> Placement:
        return Placement.of(self.inputs.config.resources)

    def _knows(self, model: NamedModel, dataset: Dataset) -> bool:
        return self.cache.has(model.fingerprint, dataset.fingerprint, len(dataset))


def parts_of(structures: Sequence[Atoms], n_workers: int) -> list[range]:
    """Divide `structures` into parts for workers, each of whole calls of a base model.

    Small datasets are one part: a worker takes seconds to load a base model.
    """
    n_atoms, size = sum(len(atoms) for atoms in structures), chunk_size(structures)
    n_parts = max(1, min(n_workers, n_atoms // ATOMS_WORTH_A_WORKER))
    calls = -(-len(structures) // size)  # rounded up
    bounds = [min(size * (calls * number // n_parts), len(structures)) for number in range(n_parts + 1)]
    return [range(start, stop, size) for start, stop in itertools.pairwise(bounds)]


def do_ahead(ahead: Ahead, tasks: Sequence[Task], logs: Path, reporter: Reporter) -> None:
    """Let workers do the `tasks`; ElmlffError with the names of those that failed."""
    if tasks:
        for model in ahead.inputs.base_models:
            model.close()  # loaded to know its elements; the workers load it for themselves
        placement = Placement.of(ahead.inputs.config.resources)
        run_tasks(tasks, placement, logs, "trainings, predictions and fits", reporter, len(ahead.fits))
