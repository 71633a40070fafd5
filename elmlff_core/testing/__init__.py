"""The public conformance kit for authors of adapters and meta-models.

`check_force_field` and `check_meta_model` run a force field or a meta-model, and return a report that lists every check
with its measured value.  They raise AssertionError with the names of the failed checks.  In a pytest run they are also
available as fixtures of the same names.
"""

from elmlff_core.testing.force_field import check_force_field
from elmlff_core.testing.meta_model import check_meta_model, example_features
from elmlff_core.testing.report import Check, Report
from elmlff_core.testing.structures import example_structures
from elmlff_core.testing.tolerances import Tolerances

__all__ = [
    "Check",
    "Report",
    "Tolerances",
    "check_force_field",
    "check_meta_model",
    "example_features",
    "example_structures",
]
