"""The evaluation workflow: errors of a finished stack on labelled structures."""

from __future__ import annotations

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.prediction import dataset_features
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import in_blocks
from elmlff_core.contracts.progress import Reporter
from elmlff_core.errors import DataError
from elmlff_core.evaluation.model_errors import ModelErrors, errors_of
from elmlff_core.stack.stack import Stack


def evaluate_stack(stack: Stack, dataset: Dataset, reporter: Reporter) -> list[ModelErrors]:
    """Compute the errors of a loaded stack and of its base models on labelled structures.

    Energies of the base models are aligned as in the stack, that is, to the reference of its training structures.

    Raises DataError if the structures contain an element that a base model does not support.
    """
    if stack.elements is not None and (unknown := sorted(dataset.elements - stack.elements)):
        raise DataError(
            f"{dataset.source} contains {', '.join(unknown)}, which a base model of the stack does not support"
        )
    features = dataset_features(stack.base_models, dataset, FeatureCache(), reporter)
    splits = {"test": features}
    alignment = stack.alignment
    errors = [
        ModelErrors(name, "base model", errors_of({"test": alignment.aligned_prediction(name, features)}, splits))
        for name in features.models
    ]
    own = errors_of({"test": in_blocks(features, stack.meta.predict)}, splits)
    return [*errors, ModelErrors(f"stack ({stack.meta_name})", "stack", own, meta=stack.meta_name, chosen=True)]
