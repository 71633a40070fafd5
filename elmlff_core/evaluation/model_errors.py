"""The results of a run: errors of bases, controls and stacks on test, validation and training structures."""

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

PARTS = ("test", "valid", "train")
Errors = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Row:
    """Errors of one model.

    Attributes
    ----------
    name : title of the base, control or stack
    kind : ``base``, ``control`` or ``stack``
    errors : part -> metric -> value, the mean over seeds where there are several; forces in eV/Å, energy in eV per atom
    spread : part -> metric -> standard deviation over seeds (of a sample: n - 1 in the denominator); empty for one seed
    per_seed : of trained meta-models, one record a seed: ``seed``, ``errors``, ``seconds``
    meta : the meta-model's name, "" for bases
    seconds : one fit took, the mean over seeds; None where nothing was fitted for this row
    n_parameters : trainable numbers of the meta-model, or None where it does not tell
    chosen : whether this is the run's stack: the one with the lowest validation error
    """

    name: str
    kind: str
    errors: Errors
    spread: Errors = field(default_factory=dict)
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


def errors_of(predictions: Mapping[str, Prediction], parts: Mapping[str, Features]) -> Errors:
    """Errors of a prediction for each part."""
    return {part: metrics(predictions[part], features) for part, features in parts.items()}


def over_seeds(errors: Sequence[Errors]) -> tuple[Errors, Errors]:
    """Mean and standard deviation (n - 1) of each error over seeds; no deviation of a single one."""

    def each(function: Any) -> Errors:
        return {
            part: {metric: float(function([one[part][metric] for one in errors])) for metric in values}
            for part, values in errors[0].items()
        }

    return each(np.mean), each(lambda values: np.std(values, ddof=1)) if len(errors) > 1 else {}


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """One line per model, part and metric; the spread over seeds is empty where there is one."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "kind", "part", "metric", "value", "spread"))
        for entry in rows:
            for part, errors in entry.errors.items():
                for metric, value in errors.items():
                    spread = f"{entry.spread[part][metric]:.6g}" if entry.spread else ""
                    writer.writerow((entry.name, entry.kind, part, metric, f"{value:.6g}", spread))


def as_records(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Plain data for JSON."""
    return [asdict(entry) for entry in rows]


def from_records(records: Sequence[Mapping[str, object]]) -> list[Row]:
    """The reverse of `as_records`."""
    return [Row(**record) for record in records]  # type: ignore[arg-type]
