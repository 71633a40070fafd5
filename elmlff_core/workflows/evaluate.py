"""The evaluation workflow: errors of a finished stack on labelled structures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.prediction import dataset_features
from elmlff_core.base_models.training import seen_in_training
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.progress import Reporter
from elmlff_core.errors import DataError
from elmlff_core.evaluation.leakage import leakage_notes
from elmlff_core.evaluation.model_errors import SHOWN_SPLITS, ModelErrors, errors_of
from elmlff_core.evaluation.units import check_units_by_models
from elmlff_core.stack.stack import Stack
from elmlff_core.uncertainty.quality import qualities_by_domain, structures_outside
from elmlff_core.workflows.predict import ManyStructures, Workers, joined, predicted_blocks

STATED = 0.9  # coverage of the intervals of which the notes speak
UNKNOWN = "unknown"  # the group of all structures if the stack does not know on which structures it was fitted
GROUPS = (*SHOWN_SPLITS, UNKNOWN)
TITLES = {"test": "unseen", "valid": "used in validation", "train": "used in training", UNKNOWN: "seen or not"}


@dataclass(frozen=True)
class StackEvaluation:
    """Errors of a stack on given structures, apart for those that its fit has and has not used.

    Attributes
    ----------
    source : where the structures came from
    counts : ``test`` (not used in the fit), ``valid``, ``train`` -> number of structures; ``unknown`` alone, if the
        stack does not know on which structures it was fitted
    errors : errors of base models and stack in those groups that are not empty
    notes : notes for the reader
    """

    source: str
    counts: dict[str, int]
    errors: list[ModelErrors]
    notes: list[str]

    @property
    def titles(self) -> dict[str, str]:
        """Group that is not empty -> its number of structures and how the fit used them, in words."""
        return {group: f"{n} {TITLES[group]}" for group, n in self.counts.items() if n}

    def as_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def evaluate_stack(
    stack: Stack, dataset: Dataset, reporter: Reporter, workers: Workers | None = None
) -> StackEvaluation:
    """Compute the errors of a loaded stack and of its base models on labelled structures.

    Energies of the base models are aligned as in the stack, that is, to the reference of its training structures.

    Parameters
    ----------
    stack : the stack
    dataset : the structures
    reporter : receives messages and progress
    workers : share the predictions for a large dataset; None for this process alone

    Raises
    ------
    DataError
        The structures contain an element that a base model does not support, or their labels are in another unit than
        the predictions of the stack.
    ForceFieldError
        A base model failed, or a prediction is not finite.
    """
    if stack.elements is not None and (unknown := sorted(dataset.elements - stack.elements)):
        raise DataError(
            f"{dataset.source} contains {', '.join(unknown)}, which a base model of the stack does not support"
        )
    many = ManyStructures(stack, dataset.structures, dataset.fingerprint, FeatureCache(), whole=False)
    with predicted_blocks(many, reporter, workers) as found_blocks:
        own = joined(found_blocks)
    features = dataset_features(stack.base_models, dataset, many.cache, reporter)
    predictions = {name: stack.alignment.aligned_prediction(name, features) for name in features.models}
    check_units_by_models(_as_features(own, features), "Give labels in the units of the stack, eV, eV/Å and eV/Å³")
    groups = groups_of(stack, dataset)
    splits = {group: features.subset(groups[group]) for group in GROUPS if len(groups.get(group, ()))}

    def errors(prediction: Prediction) -> dict[str, dict[str, float]]:
        return errors_of({group: prediction.subset(groups[group]) for group in splits}, splits)

    found = [ModelErrors(name, "base model", errors(prediction)) for name, prediction in predictions.items()]
    title = f"stack ({stack.meta_name})"
    found.append(ModelErrors(title, "stack", errors(own), meta=stack.meta_name, chosen=True))
    counts = {group: len(groups[group]) for group in GROUPS if group in groups}
    notes = notes_of(counts, features) + notes_on_domain(stack, features, own)
    if (test := splits.get("test", splits.get(UNKNOWN))) is not None:
        notes += leakage_notes({"test": test}, {model.name: seen_in_training(model) for model in stack.base_models})
    return StackEvaluation(dataset.source, counts, found, notes)


def _as_features(prediction: Prediction, labelled: Features) -> Features:
    """Return the prediction of the stack in the place of those of the base models."""
    name = "the stack"
    energies = {} if prediction.energy is None else {name: prediction.energy}
    stresses = {} if prediction.stress is None else {name: prediction.stress}
    forces = prediction.forces[None]
    return Features(labelled.structures, (name,), forces, energies, labelled.reference, labelled.source, stresses)


def groups_of(stack: Stack, dataset: Dataset) -> dict[str, np.ndarray]:
    """Return ``train``, ``valid`` and ``test``, or ``unknown`` alone -> the indices of its structures."""
    if stack.seen is None:
        return {UNKNOWN: np.arange(len(dataset))}
    return stack.seen.splits(dataset.structures)


def notes_on_domain(stack: Stack, features: Features, prediction: Prediction) -> list[str]:
    """Return a note on structures outside what the stack was fitted on, with the coverage of its intervals there."""
    outside = None if stack.uncertainty is None else stack.uncertainty.outside(features, prediction.forces)
    if stack.uncertainty is None or outside is None or not outside.any:
        return []
    qualities = qualities_by_domain(stack.uncertainty, features, prediction, stack.meta, outside)
    n_outside = int(structures_outside(outside, features).sum())
    found = {
        where: next(entry.normal for entry in quality.coverage if entry.stated == STATED)
        for where, quality in qualities.items()
    }
    covered = " and ".join(f"{100 * share:.0f} % of the errors {where}" for where, share in found.items())
    return [
        f"{n_outside} of {len(features)} structures lie outside what the stack was fitted on. Its intervals for "
        f"{100 * STATED:.0f} % contain {covered}"
    ]


def notes_of(counts: Mapping[str, int], features: Features) -> list[str]:
    """Return notes on how many of the structures the fit has used."""
    n_all = len(features)
    if UNKNOWN in counts:
        return [
            f"it cannot be known how many of the {n_all} structures were used in the fit: the stack was saved by an "
            "earlier elmlff, which did not record them; stack again to know"
        ]
    note = (
        f"of {n_all} structures, {counts['train']} were used in training and {counts['valid']} in the validation of "
        f"this stack; {counts['test']} were not"
    )
    if counts["train"] + counts["valid"]:
        note += ". Errors on structures that were used are lower than on unseen ones"
    return [note]
