"""Checks of an installation: `examine` yields findings."""

from elmlff_core.doctor.examination import examine
from elmlff_core.doctor.finding import Finding

__all__ = ["Finding", "examine"]
