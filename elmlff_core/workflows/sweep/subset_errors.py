"""Errors of one subset of the base models by one method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elmlff_core.workflows.sweep.subsets import Subset


@dataclass(frozen=True)
class SubsetErrors:
    """Errors of one subset by one method.

    Attributes
    ----------
    subset : names of its base models, in the order of the sweep
    method : ``per-subset``, ``masked`` or ``least-squares``
    errors : split -> force RMSE per frame (Eq. 7), eV/Å
    seconds : time of fit and evaluation; the time of one training for all subsets is divided equally among them
    """

    subset: Subset
    method: str
    errors: dict[str, float]
    seconds: float

    def as_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"subset": list(self.subset), "method": self.method, "errors": self.errors, "seconds": self.seconds}
