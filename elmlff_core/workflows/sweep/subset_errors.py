"""Entry: the errors of one subset of the bases by one way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from elmlff_core.contracts.features import Features
from elmlff_core.features.metrics import rmse_of_frames
from elmlff_core.workflows.sweep.subsets import Subset

PARTS = ("train", "valid", "test")
# A network takes as long for the training structures as for all others together, and their error decides nothing.
MOST_TRAINING_STRUCTURES = 500


@dataclass(frozen=True)
class Entry:
    """What came of one subset.

    Attributes
    ----------
    subset : names of its bases, in the order of the sweep
    way : ``each``, ``amortised`` or ``linear``
    errors : part -> force RMSE per frame (Eq. 7), eV/Å
    seconds : fitting and evaluating took; of one training for all subsets an equal share
    """

    subset: Subset
    way: str
    errors: dict[str, float]
    seconds: float

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"subset": list(self.subset), "way": self.way, "errors": self.errors, "seconds": self.seconds}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Entry:
        """The reverse of `as_record`."""
        return cls(tuple(record["subset"]), record["way"], record["errors"], record["seconds"])


def evaluated_parts(features: Mapping[str, Features]) -> dict[str, Features]:
    """What errors are taken over: all of validation and test, and evenly spaced training structures."""
    n_train = len(features["train"])
    chosen = np.unique(np.linspace(0, n_train - 1, min(n_train, MOST_TRAINING_STRUCTURES)).round().astype(np.int64))
    return {part: features[part].subset(chosen) if part == "train" else features[part] for part in PARTS}


def error_of(forces: np.ndarray, features: Features) -> float:
    """Force RMSE per frame (Eq. 7) of `forces` (n_rows, 3), eV/Å."""
    return float(rmse_of_frames(forces, features.reference_forces, features.n_atoms).mean())
