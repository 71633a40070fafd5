"""The window of expected errors: what is known too well to be worth a label, and what is too broken to have one.

The expected error of an atom is the calibrated standard deviation of a component of the force on it, and that of a
structure is the largest of its atoms.  The lower bound is compared with it.  The upper bound is compared with the end
of the interval that contains nine in ten errors, because what is beyond must not be labelled: calculations of broken
structures fail, or spoil the next fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elmlff_core.errors import ConfigError
from elmlff_core.uncertainty.uncertainty import Uncertainty

# Raw uncertainties by their kind; that of a committee is the usual one.
RAW = {
    "seeds": "the disagreement of the fits whose mean the stack is",
    "learnt": "the standard deviation that the meta-model has learnt",
    "committee": "the disagreement of the base models",
}
COVERAGE = 0.9
NORMAL = 2.5  # standard deviations of a component within which nine in ten normal errors of three components lie
# The default of the upper bound, in units of the usual force of the fit.  Outside the domain expected errors grow to
# three times the forces, so new structures with usual forces stay below it, and those whose forces explode do not.
HIGH_IN_FORCES = 10.0
HIGH_IN_ERRORS = 100.0  # the same in units of the typical error, if the stack does not know the usual force


@dataclass(frozen=True)
class Window:
    """Bounds of the expected error.

    Attributes
    ----------
    low : eV/Å, of the expected error
    high : eV/Å, of the upper end of the interval of errors
    factor : upper end of this interval in units of the expected error
    low_is, high_is : what the bounds are, in words
    """

    low: float
    high: float
    factor: float
    low_is: str
    high_is: str

    @classmethod
    def of(cls, uncertainty: Uncertainty, low: float | None, high: float | None) -> Window:
        """Return the window with the bounds that are given, and defaults from the calibration for the others.

        ConfigError if it is empty.
        """
        low_is = high_is = "given"
        if low is None and why_no_information(uncertainty) is not None:
            low, low_is = 0.0, "as expected errors do not tell structures of the domain apart"
        elif low is None:
            low, low_is = uncertainty.usual_error, "the typical error on validation structures"
        if high is None and uncertainty.domain is not None:
            high = HIGH_IN_FORCES * uncertainty.domain.usual
            high_is = f"{HIGH_IN_FORCES:g} times the usual force of the training structures"
        elif high is None:
            high = HIGH_IN_ERRORS * uncertainty.usual_error
            high_is = f"{HIGH_IN_ERRORS:g} times the typical error on validation structures"
        if low >= high:
            raise ConfigError(
                f"the window is empty: its lower bound is {low:.4g} eV/Å ({low_is}) and its upper bound {high:.4g} "
                f"({high_is}); give --low and --high"
            )
        factor = uncertainty.force.factor(COVERAGE)
        return cls(low, high, factor if np.isfinite(factor) else NORMAL, low_is, high_is)

    def __str__(self) -> str:
        return (
            f"window of expected errors: above {self.low:.4g} eV/Å ({self.low_is}), and the upper end of their "
            f"{100 * COVERAGE:.0f} % interval below {self.high:.4g} eV/Å ({self.high_is})"
        )


def why_no_information(uncertainty: Uncertainty) -> str | None:
    """Return why expected errors do not tell structures of the domain apart; None if they do."""
    if uncertainty.kind == "constant":
        return "the stack has a single base model, so that nothing disagrees with it"
    if uncertainty.force.exponent == 0:
        return f"{RAW[uncertainty.kind]} told nothing about the errors on validation structures"
    return None
