"""Students: what they learn from, and their training by the trainer of their adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.training import train_model, trained_checkpoint, training_directory
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.contracts.structures import flat_structures, subset_of
from elmlff_core.distillation.labels import picked
from elmlff_core.distillation.reference import Reference, joined
from elmlff_core.errors import ConfigError
from elmlff_core.execution.tasks import Task
from elmlff_core.features.feature_file import load_features, save_features
from elmlff_core.files import replacing
from elmlff_core.stack.stack import StackPrediction

SHARE = 0.1  # of the made structures for validation, and as many that are held out
STUDENT, CONTROL = "student", "control"


@dataclass(frozen=True)
class Lessons:
    """What a student learns from.

    Attributes
    ----------
    train, valid : reference structures with their own labels, and made structures with those of the stack
    held_out : made structures that it does not see, with the labels of the stack
    """

    train: Dataset
    valid: Dataset
    held_out: Dataset

    @classmethod
    def of(cls, reference: Reference, made: Dataset, with_energies: bool, seed: int) -> Lessons:
        """Divide the made structures at random, and add the reference ones with the labels that they have.

        Without energies, a trainer has forces alone, of all structures.
        """
        if not with_energies:
            made = replace(made, energy=None)
        order = np.random.default_rng([seed, len(made)]).permutation(len(made))
        n_part = max(1, round(SHARE * len(made))) if len(made) > 2 else 0
        valid, held_out, train = np.split(order, [n_part, 2 * n_part])
        return cls(
            joined([reference.train, made.subset(np.sort(train))]),
            joined([reference.valid, made.subset(np.sort(valid))]),
            made.subset(np.sort(held_out)),
        )

    def save(self, folder: Path) -> None:
        """Write all three parts to `folder`, where `load_lessons` reads them with every digit."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("train", "valid", "held_out"):
            save_dataset(getattr(self, name), folder / f"{name}.safetensors")


def made_dataset(
    structures: Sequence[Atoms], labels: StackPrediction, chosen: np.ndarray, source: str, usual_error: float | None
) -> Dataset:
    """Return the `chosen` structures with the labels of a stack.

    With the `usual_error` of the stack, eV/Å, they are weighted by how sure it is of them.
    """
    kept = picked(labels, chosen)
    weight = None if usual_error is None else weights(kept, usual_error)
    return Dataset(
        subset_of(flat_structures(structures), chosen), kept.forces, kept.energy, kept.stress, source, weight
    )


def weights(labels: StackPrediction, usual_error: float) -> np.ndarray | None:
    """Return the weights of the labels of a stack, whose squares are inverse variances: (n_structures,).

    The variance of a structure is that of the stack, averaged over atoms, and that of a student which follows the stack
    as well as the stack follows the reference.  A reference label, of which only the second is left, has a weight of 1.
    """
    if labels.forces_std is None:
        return None
    variance = np.add.reduceat(np.square(labels.forces_std), labels.offsets[:-1]) / labels.n_atoms
    return np.asarray(usual_error / np.sqrt(usual_error**2 + variance))


def save_dataset(dataset: Dataset, path: Path) -> None:
    """Write structures and labels, and weights into a file beside it."""
    empty = np.zeros((0, len(dataset.forces), 3))
    if dataset.weight is not None:
        with replacing(_weights_file(path)) as partial:
            np.savetxt(partial, dataset.weight)
    save_features(Features(dataset.structures, (), empty, {}, dataset.labels, dataset.source), path)


def load_dataset(path: Path) -> Dataset:
    """Read what `save_dataset` wrote."""
    found = load_features(path)
    assert found.reference is not None
    labels, file = found.reference, _weights_file(path)
    weight = np.loadtxt(file, ndmin=1) if file.exists() else None
    return Dataset(found.structures, labels.forces, labels.energy, labels.stress, found.source, weight)


def _weights_file(path: Path) -> Path:
    return path.with_suffix(".weights.txt")


def check_student(model: NamedModel) -> None:
    """Raise ConfigError if `model` cannot be trained."""
    if model.plugin.trainer is None:
        raise ConfigError(f"adapter '{model.plugin.name}' of model '{model.name}' cannot train: name another student")
    if model.checkpoint is not None:
        raise ConfigError(
            f"model '{model.name}' has a checkpoint, {model.checkpoint}: name a model without one, such as a preset or "
            f'a [models.NAME] of its own with adapter = "{model.plugin.name}"'
        )


@dataclass(frozen=True)
class Training:
    """The training of one student.

    Attributes
    ----------
    name : ``student`` or ``control``
    model : the model, without a checkpoint
    train, valid : files with its data
    seed : seed
    directory : folder of the training
    """

    name: str
    model: NamedModel
    train: Path
    valid: Path
    seed: int
    directory: Path

    @classmethod
    def of(cls, name: str, model: NamedModel, train: Path, valid: Path, seed: int, root: Path) -> Training:
        """Return the training in a folder below `root`, which has the name that `elmlff train` would give it."""
        directory = training_directory(model, load_dataset(train), load_dataset(valid), seed, root)
        return cls(name, model, train.absolute(), valid.absolute(), seed, directory.absolute())

    def __call__(self, reporter: Reporter) -> None:
        """Train, or finish a training that was interrupted."""
        with reporter.progress(f"training the {self.name}") as progress:
            train_model(
                self.model, load_dataset(self.train), load_dataset(self.valid), self.seed, self.directory, progress
            )

    @property
    def is_finished(self) -> bool:
        """Whether its checkpoint is there."""
        return trained_checkpoint(self.directory) is not None

    def trained(self) -> NamedModel:
        """Return the trained model, whose name is that of the training."""
        checkpoint = trained_checkpoint(self.directory)
        assert checkpoint is not None
        return replace(self.model, name=self.name, checkpoint=checkpoint)

    def task(self) -> Task:
        """Return the task of a worker."""
        return Task(f"training the {self.name}", self)
