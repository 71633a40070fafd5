"""Evaluation: errors of base models, baselines and stacks, and the choice of the stack on validation structures."""

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
    """Everything that was predicted, and its errors.

    Attributes
    ----------
    errors : of base models, baselines and stacks, a line of the table each
    predictions : name of such a line -> split -> prediction, that of the first seed where there are several
    features : split -> what the base models predict, with the labels
    chosen : the fit that is the run's stack
    """

    errors: list[ModelErrors]
    predictions: dict[str, dict[str, Prediction]]
    features: dict[str, Features]
    chosen: Fitted

    @property
    def stack(self) -> ModelErrors:
        """The errors of the run's stack."""
        return next(row for row in self.errors if row.chosen)


def evaluate(fitted: Sequence[Fitted], features: dict[str, Features], directory: Path) -> Evaluation:
    """Errors of base models, baselines and fits on every split; the stack has the lowest error on validation
    structures.

    Parameters
    ----------
    fitted : every fit of the run
    features : of the splits ``train``, ``valid`` and ``test``
    directory : for the fits of baselines, which leave nothing there
    """
    predictions = _base_predictions(features)
    errors = _errors_of_base_models(predictions, features)
    asked = {entry.fit.meta.name for entry in fitted}
    for meta, title in BASELINES.items():
        if meta not in asked:
            predictions[title] = baseline_predictions(meta, features, directory)
            errors.append(ModelErrors(title, "baseline", errors_of(predictions[title], features), meta=meta))
    groups = defaultdict(list)
    for entry in sorted(fitted, key=lambda entry: not entry.fit.geometry_only):  # baselines above stacks
        groups[entry.fit.title].append(entry)
    for title, group in groups.items():
        row, predictions[title] = _errors_of_fits(title, group, features)
        errors.append(row)
    best = min((row for row in errors if row.kind == "stack"), key=lambda row: row.errors["valid"]["rmse_per_frame"])
    errors = [replace(row, chosen=row is best) for row in errors]
    return Evaluation(errors, predictions, features, chosen=groups[best.name][0])


def errors_of_base_models(features: Mapping[str, Features]) -> list[ModelErrors]:
    """Errors of each base model alone."""
    return _errors_of_base_models(_base_predictions(features), features)


def _errors_of_base_models(
    predictions: Mapping[str, Mapping[str, Prediction]], features: Mapping[str, Features]
) -> list[ModelErrors]:
    return [
        ModelErrors(name, "base model", errors_of(predictions[name], features)) for name in features["train"].models
    ]


def _base_predictions(features: Mapping[str, Features]) -> dict[str, dict[str, Prediction]]:
    """Each base model alone, its energies aligned to the reference on training structures."""
    predictions = {}
    for name in features["train"].models:
        alignment = EnergyCombination.fit(features["train"].of_models([name]))
        predictions[name] = {
            split: Prediction(
                values.n_atoms, values.base_prediction(name).forces, alignment.apply(values.of_models([name]))
            )
            for split, values in features.items()
        }
    return predictions


def _errors_of_fits(
    title: str, group: Sequence[Fitted], features: Mapping[str, Features]
) -> tuple[ModelErrors, dict[str, Prediction]]:
    """Errors of one meta-model fitted with one or several seeds, and the predictions of the first."""
    first = group[0]
    predictions: dict[str, Prediction] = {}
    errors_by_seed = []
    for entry in group:
        found = {split: in_blocks(entry.fit.seen(values), entry.meta.predict) for split, values in features.items()}
        predictions = predictions or found
        errors_by_seed.append(errors_of(found, features))
    errors, seed_std = over_seeds(errors_by_seed)
    per_seed = [
        {"seed": entry.fit.seed, "errors": one, "seconds": entry.seconds}
        for entry, one in zip(group, errors_by_seed, strict=True)
    ]
    row = ModelErrors(
        name=title,
        kind="baseline" if first.fit.geometry_only else "stack",
        errors=errors,
        seed_std=seed_std,
        per_seed=per_seed if first.fit.meta.trained else [],
        meta=first.fit.meta.name,
        seconds=float(np.mean([entry.seconds for entry in group])),
        n_parameters=first.n_parameters,
    )
    return row, predictions
