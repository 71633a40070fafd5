"""Errors of base models, baselines and stacks on test, validation and training structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from elmlff_core import files
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.features.metrics import metrics

SHOWN_SPLITS = ("test", "valid", "train")
METRIC_TITLES = {"rmse_per_frame": "RMSE per frame", "rmse": "RMSE", "mae": "MAE"}
ENERGY_TITLES = {"energy_rmse_per_atom": "energy RMSE", "energy_mae_per_atom": "energy MAE"}
STRESS_TITLES = {"stress_rmse": "stress RMSE", "stress_mae": "stress MAE"}
UNITS = (
    dict.fromkeys(METRIC_TITLES, "eV/Å")
    | dict.fromkeys(ENERGY_TITLES, "eV/atom")
    | dict.fromkeys(STRESS_TITLES, "eV/Å³")
)
Errors = dict[str, dict[str, float]]


@dataclass(frozen=True)
class ModelErrors:
    """Errors of one model.

    Attributes
    ----------
    name : title of the base model, baseline or stack
    kind : ``base model``, ``baseline`` or ``stack``
    errors : split -> metric -> value, the mean over seeds if there are several; forces in eV/Å, energy in eV/atom,
        stress in eV/Å³
    seed_std : split -> metric -> standard deviation over seeds (n - 1 in the denominator); empty for one seed
    per_seed : for trained meta-models, a record for each seed: ``seed``, ``errors``, ``seconds``
    meta : name of the meta-model, "" for base models
    seconds : time of one fit, the mean over seeds; None if the model was not fitted in this run
    n_parameters : number of trainable parameters of the meta-model, or None if unknown
    chosen : whether this is the stack of the run, the one with the lowest validation error
    averaged : number of fits, with different seeds or with and without base models, whose mean it is
    """

    name: str
    kind: str
    errors: Errors
    seed_std: Errors = field(default_factory=dict)
    per_seed: list[dict[str, Any]] = field(default_factory=list)
    meta: str = ""
    seconds: float | None = None
    n_parameters: int | None = None
    chosen: bool = False
    averaged: int = 1

    @property
    def headline(self) -> float:
        """The paper's metric on test structures, eV/Å."""
        return self.errors["test"]["rmse_per_frame"]

    @property
    def headlines(self) -> np.ndarray:
        """The paper's metric on test structures for each seed: (n_seeds,), eV/Å; of an average, (1,)."""
        if self.averaged > 1:
            return np.array([self.headline])
        return np.array([entry["errors"]["test"]["rmse_per_frame"] for entry in self.per_seed])


def errors_of(predictions: Mapping[str, Prediction], splits: Mapping[str, Features]) -> Errors:
    """Compute the errors of a prediction for each split."""
    return {split: metrics(predictions[split], features) for split, features in splits.items()}


def over_seeds(errors: Sequence[Errors]) -> tuple[Errors, Errors]:
    """Return the mean and the standard deviation (n - 1) of each error over seeds; the latter is empty for one seed."""

    def reduced(function: Any) -> Errors:
        return {
            split: {metric: float(function([one[split][metric] for one in errors])) for metric in values}
            for split, values in errors[0].items()
        }

    return reduced(np.mean), reduced(lambda values: np.std(values, ddof=1)) if len(errors) > 1 else {}


def write_csv(errors: Sequence[ModelErrors], path: Path) -> None:
    """Write a line for each model, split and metric; the standard deviation over seeds is empty for one seed."""
    rows: list[tuple[str, ...]] = [("name", "kind", "split", "metric", "value", "seed_std", "unit")]
    for model in errors:
        for split, metrics_of_split in model.errors.items():
            for metric, value in metrics_of_split.items():
                std = f"{model.seed_std[split][metric]:.6g}" if model.seed_std else ""
                rows.append((model.name, model.kind, split, metric, f"{value:.6g}", std, UNITS[metric]))
    files.write_csv(path, rows)


def as_records(errors: Sequence[ModelErrors]) -> list[dict[str, object]]:
    """Return plain data for JSON."""
    return [asdict(model) for model in errors]
