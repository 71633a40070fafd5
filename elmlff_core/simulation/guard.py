"""A guard on the calibrated uncertainty of every atom, for all that moves atoms with a stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from elmlff_core.contracts.progress import Reporter
from elmlff_core.errors import ConfigError
from elmlff_core.stack.stack import StackPrediction


@dataclass(frozen=True)
class Guard:
    """What happens where the calibrated standard deviation of a force component of any atom passes a bound.

    Attributes
    ----------
    bound : eV/Å, or None
    action : ``stop`` ends the simulation and keeps the structure, ``warn`` says it once
    """

    bound: float | None = None
    action: Literal["stop", "warn"] = "stop"


NO_GUARD = Guard()


@dataclass(frozen=True)
class Stop:
    """Why a guard ends a simulation.

    Attributes
    ----------
    index : of the structure, among those that were predicted together
    reason : in words, with the atom, its uncertainty, and the bound
    """

    index: int
    reason: str


class Watch:
    """A guard at work.

    Parameters
    ----------
    guard : the bound, and what happens there
    reporter : where a warning goes
    """

    def __init__(self, guard: Guard, reporter: Reporter) -> None:
        self.guard, self.reporter = guard, reporter
        self.has_warned = False

    def check(self, found: StackPrediction) -> None:
        """Raise ConfigError if there is a bound, and the stack has no uncertainty that could pass it."""
        if self.guard.bound is not None and found.forces_std is None:
            raise ConfigError("a guard needs a stack with calibrated uncertainties, and this one has none: stack again")

    def look(self, found: StackPrediction, counted: str, first: int) -> Stop | None:
        """Return why the simulation ends, or None; a guard that only warns says it here, the first time.

        Parameters
        ----------
        found : prediction of one or more structures
        counted, first : what the first of them is in words, such as ``step`` and 20
        """
        bound, std = self.guard.bound, found.forces_std
        if bound is None or self.has_warned or std is None or std.max() <= bound:
            return None
        row = int(std.argmax())
        index = int(np.searchsorted(found.offsets, row, side="right")) - 1
        reason = (
            f"{counted} {first + index}: the uncertainty of atom {row - found.offsets[index]} is {std[row]:.3f} eV/Å, "
            f"above {bound:g}"
        )
        if self.guard.action == "stop":
            return Stop(index, reason)
        self.has_warned = True
        self.reporter.warn(f"{reason}. It is not said again")
        return None
