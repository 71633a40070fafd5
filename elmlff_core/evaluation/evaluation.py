"""Evaluation: errors of base models, baselines and stacks, and the choice of the stack by validation error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.evaluation.baselines import BASELINES, baseline_predictions
from elmlff_core.evaluation.model_errors import ModelErrors, errors_of, over_seeds
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.fits.fit import Fitted


@dataclass(frozen=True)
class Evaluation:
    """Predictions and errors of all models of a run.

    Attributes
    ----------
    errors : errors of each base model, baseline and stack
    predictions : name of the model -> split -> prediction, of the first seed if there are several
    features : split -> predictions of the base models, with the labels
    chosen : the fit that is the run's stack
    """

    errors: list[ModelErrors]
    predictions: dict[str, dict[str, Prediction]]
    features: dict[str, Features]
    chosen: Fitted

    @property
    def stack(self) -> ModelErrors:
        """The errors of the run's stack."""
        return next(model for model in self.errors if model.chosen)


def evaluate(fitted: Sequence[Fitted], features: dict[str, Features], directory: Path) -> Evaluation:
    """Compute the errors of base models, baselines and fits on every split, and choose the stack.

    The stack is the meta-model with the lowest validation error.

    Parameters
    ----------
    fitted : all fits of the run
    features : features of the splits ``train``, ``valid`` and ``test``
    directory : folder for the fits of baselines, which write no files there
    """
    predictions = _base_predictions(features)
    errors = _errors_of_base_models(predictions, features)
    requested = {result.fit.meta.name for result in fitted}
    for meta, title in BASELINES.items():
        if meta not in requested:
            predictions[title] = baseline_predictions(meta, features, directory)
            errors.append(ModelErrors(title, "baseline", errors_of(predictions[title], features), meta=meta))
    groups = defaultdict(list)
    for result in sorted(fitted, key=lambda result: not result.fit.geometry_only):  # baselines above stacks
        groups[result.fit.title].append(result)
    for title, group in groups.items():
        found, predictions[title] = _errors_of_fits(title, group, features)
        errors.append(found)
    stacks = [model for model in errors if model.kind == "stack"]
    best = min(stacks, key=lambda model: model.errors["valid"]["rmse_per_frame"])
    errors = [replace(model, chosen=model is best) for model in errors]
    return Evaluation(errors, predictions, features, chosen=groups[best.name][0])


def errors_of_base_models(features: Mapping[str, Features]) -> list[ModelErrors]:
    """Compute the errors of each base model alone."""
    return _errors_of_base_models(_base_predictions(features), features)


def _errors_of_base_models(
    predictions: Mapping[str, Mapping[str, Prediction]], features: Mapping[str, Features]
) -> list[ModelErrors]:
    return [
        ModelErrors(name, "base model", errors_of(predictions[name], features)) for name in features["train"].models
    ]


def _base_predictions(features: Mapping[str, Features]) -> dict[str, dict[str, Prediction]]:
    """Return the predictions of each base model, with energies aligned to the reference on training structures."""
    alignment = EnergyCombination.fit(features["train"])
    return {
        name: {split: alignment.aligned_prediction(name, values) for split, values in features.items()}
        for name in features["train"].models
    }


def _errors_of_fits(
    title: str, group: Sequence[Fitted], features: Mapping[str, Features]
) -> tuple[ModelErrors, dict[str, Prediction]]:
    """Return the errors of one meta-model over its seeds, and the predictions of the first seed."""
    first = group[0]
    predictions: dict[str, Prediction] = {}
    errors_by_seed = []
    for result in group:
        found = {split: in_blocks(result.fit.seen(values), result.meta.predict) for split, values in features.items()}
        predictions = predictions or found
        errors_by_seed.append(errors_of(found, features))
    errors, seed_std = over_seeds(errors_by_seed)
    per_seed = [
        {"seed": result.fit.seed, "errors": one, "seconds": result.seconds}
        for result, one in zip(group, errors_by_seed, strict=True)
    ]
    of_model = ModelErrors(
        name=title,
        kind="baseline" if first.fit.geometry_only else "stack",
        errors=errors,
        seed_std=seed_std,
        per_seed=per_seed if first.fit.meta.sees_geometry and not first.fit.is_average else [],
        meta=first.fit.meta.name,
        seconds=float(np.mean([result.seconds for result in group])),
        n_parameters=first.n_parameters,
        averaged=len(first.fit.members),
    )
    return of_model, predictions
