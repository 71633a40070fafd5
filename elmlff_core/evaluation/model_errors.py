"""Errors of base models, baselines and stacks on test, validation and training structures: a line of a table each."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.features.metrics import metrics

SHOWN_SPLITS = ("test", "valid", "train")
Errors = dict[str, dict[str, float]]


@dataclass(frozen=True)
class ModelErrors:
    """Errors of one model.

    Attributes
    ----------
    name : title of the base model, baseline or stack
    kind : ``base model``, ``baseline`` or ``stack``
    errors : split -> metric -> value, the mean over seeds where there are several; forces in eV/Å, energy in eV per
    atom
    seed_std : split -> metric -> standard deviation over seeds (n - 1 in the denominator); empty for one seed
    per_seed : of trained meta-models, one record a seed: ``seed``, ``errors``, ``seconds``
    meta : the meta-model's name, "" for base models
    seconds : one fit took, the mean over seeds; None where nothing was fitted for this row
    n_parameters : trainable numbers of the meta-model, or None where it does not tell
    chosen : whether this is the run's stack: the one with the lowest validation error
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

    @property
    def headline(self) -> float:
        """The paper's metric on test structures, eV/Å."""
        return self.errors["test"]["rmse_per_frame"]

    @property
    def headlines(self) -> np.ndarray:
        """The paper's metric on test structures for each seed: (n_seeds,), eV/Å."""
        return np.array([entry["errors"]["test"]["rmse_per_frame"] for entry in self.per_seed])


def errors_of(predictions: Mapping[str, Prediction], splits: Mapping[str, Features]) -> Errors:
    """Errors of a prediction for each split."""
    return {split: metrics(predictions[split], features) for split, features in splits.items()}


def over_seeds(errors: Sequence[Errors]) -> tuple[Errors, Errors]:
    """Mean and standard deviation (n - 1) of each error over seeds; no deviation of a single one."""

    def each(function: Any) -> Errors:
        return {
            split: {metric: float(function([one[split][metric] for one in errors])) for metric in values}
            for split, values in errors[0].items()
        }

    return each(np.mean), each(lambda values: np.std(values, ddof=1)) if len(errors) > 1 else {}


def write_csv(errors: Sequence[ModelErrors], path: Path) -> None:
    """One line per model, split and metric; the standard deviation over seeds is empty where there is one seed."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "kind", "split", "metric", "value", "seed_std"))
        for entry in errors:
            for split, metrics_of_split in entry.errors.items():
                for metric, value in metrics_of_split.items():
                    std = f"{entry.seed_std[split][metric]:.6g}" if entry.seed_std else ""
                    writer.writerow((entry.name, entry.kind, split, metric, f"{value:.6g}", std))


def as_records(errors: Sequence[ModelErrors]) -> list[dict[str, object]]:
    """Plain data for JSON."""
    return [asdict(entry) for entry in errors]


def from_records(records: Sequence[Mapping[str, object]]) -> list[ModelErrors]:
    """The reverse of `as_records`."""
    return [ModelErrors(**record) for record in records]  # type: ignore[arg-type]
