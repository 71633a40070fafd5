"""What is wrong with an installation, before the user finds out: `examine` yields findings, one room each below."""

from elmlff_core.doctor.examination import examine
from elmlff_core.doctor.finding import Finding

__all__ = ["Finding", "examine"]
