"""Comparison: errors of student, stack, base models and control, and where the student leaves its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.prediction import dataset_features
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.progress import Reporter
from elmlff_core.evaluation.model_errors import ModelErrors, errors_of
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.stack.stack import Stack

TEST, MADE = "test", "made"
TITLES = {TEST: "held-out reference", MADE: "held-out made, against the stack"}
N_FURTHEST = 10


def errors_of_stack(stack: Stack, datasets: Mapping[str, Dataset], reporter: Reporter) -> list[ModelErrors]:
    """Return the errors of the base models and of the stack; on made structures those of the base models alone.

    Energies of base models are aligned as in the stack.
    """
    cache = FeatureCache()
    features = {
        name: dataset_features(stack.base_models, dataset, cache, reporter) for name, dataset in datasets.items()
    }
    found = []
    for name in stack.names:
        predictions = {split: stack.alignment.aligned_prediction(name, one) for split, one in features.items()}
        found.append(ModelErrors(name, "base model", errors_of(predictions, features)))
    own = {split: features[split] for split in features if split != MADE}
    predictions = {split: in_blocks(one, stack.meta.predict) for split, one in own.items()}
    found.append(ModelErrors(f"stack ({stack.meta_name})", "stack", errors_of(predictions, own), meta=stack.meta_name))
    return found


def errors_of_student(
    model: NamedModel, train: Dataset, datasets: Mapping[str, Dataset], chosen: bool, reporter: Reporter
) -> ModelErrors:
    """Return the errors of a student, with its energies aligned to the reference energies in `train`."""
    cache = FeatureCache()
    alignment = EnergyCombination.fit(dataset_features([model], train, cache, reporter))
    features = {name: dataset_features([model], dataset, cache, reporter) for name, dataset in datasets.items()}
    predictions = {split: alignment.aligned_prediction(model.name, one) for split, one in features.items()}
    title = f"{model.name} ({model.config.adapter})"
    return ModelErrors(title, model.name, errors_of(predictions, features), chosen=chosen)


@dataclass(frozen=True)
class Furthest:
    """A held-out structure of which the student is not sure.

    Attributes
    ----------
    group : ``test`` or ``made``
    index : its index in that group, from 0
    formula : chemical formula
    expected : eV/Å, the largest calibrated standard deviation of force components on an atom
    outside : how far its furthest atom is from the student's data; above 1 it is outside
    found : eV/Å, RMSE of force components over its atoms against the labels
    """

    group: str
    index: int
    formula: str
    expected: float
    outside: float
    found: float


def furthest(student: Stack, datasets: Mapping[str, Dataset]) -> list[Furthest]:
    """Return the held-out structures with the largest calibrated errors of the student, largest first."""
    entries = []
    for group, dataset in datasets.items():
        found = student.predict(dataset.structures)
        assert found.forces_std is not None
        assert found.outside is not None
        error = ((found.forces - dataset.forces) ** 2).mean(axis=1)
        starts = found.offsets[:-1]
        expected = np.maximum.reduceat(found.forces_std, starts)
        outside = np.maximum.reduceat(found.outside, starts)
        rmse = np.sqrt(np.add.reduceat(error, starts) / found.n_atoms)
        for index in np.lexsort((-outside, -expected))[:N_FURTHEST].tolist():
            formula = dataset.structures[index].get_chemical_formula()
            entries.append(
                Furthest(group, index, formula, float(expected[index]), float(outside[index]), float(rmse[index]))
            )
    return sorted(entries, key=lambda one: (-one.expected, -one.outside))[:N_FURTHEST]


def n_outside(student: Stack, dataset: Dataset) -> int:
    """Return how many structures of `dataset` have an atom outside the student's data."""
    found = student.predict(dataset.structures)
    assert found.outside is not None
    return int((np.maximum.reduceat(found.outside, found.offsets[:-1]) > 1).sum())


def as_features(model: NamedModel, dataset: Dataset, reporter: Reporter) -> Features:
    """Return the predictions of one model with the labels of `dataset`."""
    return dataset_features([model], dataset, FeatureCache(), reporter)
