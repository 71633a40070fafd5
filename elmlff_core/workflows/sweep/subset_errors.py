"""The errors of one subset of the base models by one method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elmlff_core.workflows.sweep.subsets import Subset


@dataclass(frozen=True)
class SubsetErrors:
    """What came of one subset.

    Attributes
    ----------
    subset : names of its base models, in the order of the sweep
    method : ``per-subset``, ``masked`` or ``least-squares``
    errors : split -> force RMSE per frame (Eq. 7), eV/Å
    seconds : fitting and evaluating took; of one training for all subsets an equal share
    """

    subset: Subset
    method: str
    errors: dict[str, float]
    seconds: float

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"subset": list(self.subset), "method": self.method, "errors": self.errors, "seconds": self.seconds}
