"""Report: the results of checks, and the code that runs the checks one after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from elmlff_core.errors import ElmlffError, first_line

Status = Literal["passed", "failed", "skipped", "reported"]


@dataclass(frozen=True)
class Figure:
    """The value that a check measured, and its limit; a limit of None means that the value cannot fail."""

    value: float
    limit: float | None
    unit: str = ""
    note: str = ""


class NotApplicable(Exception):
    """The check does not apply to this subject; the message is the reason."""


@dataclass(frozen=True)
class Check:
    """One check of a report.

    Attributes
    ----------
    name : name of the check
    status : ``passed``, ``failed``, ``skipped``, or ``reported`` for a value that has no limit
    figure : the measured value; None if there is none
    note : reason why it failed or was skipped
    """

    name: str
    status: Status
    figure: Figure | None = None
    note: str = ""

    def __str__(self) -> str:
        parts = [f"{self.status:<8} {self.name}"]
        if self.figure is not None and self.figure.unit:
            limit = "" if self.figure.limit is None else f" (limit {self.figure.limit:.2g})"
            parts.append(f"{self.figure.value:.2g} {self.figure.unit}".strip() + limit)
        if self.note:
            parts.append(self.note)
        return ": ".join(parts)


@dataclass
class Report:
    """The checks of one subject; printed with one check per line."""

    subject: str
    checks: list[Check] = field(default_factory=list)

    def __getitem__(self, name: str) -> Check:
        return next(check for check in self.checks if check.name == name)

    def __str__(self) -> str:
        return "\n".join([self.subject, *(f"  {check}" for check in self.checks)])

    @property
    def failed(self) -> list[str]:
        """The names of the failed checks."""
        return [check.name for check in self.checks if check.status == "failed"]

    def raise_for_failures(self) -> None:
        """Raise AssertionError if checks failed; the message has every failed check with its value."""
        if self.failed:
            lines = [f"  {check}" for check in self.checks if check.status == "failed"]
            raise AssertionError("\n".join([f"{self.subject} fails: {', '.join(self.failed)}", *lines]))


class Examination:
    """Runs checks and collects their report; an exception in a check makes it fail, and the other checks still run.

    Parameters
    ----------
    subject : name of the subject, for the first line of the report
    known : names of all checks
    skip : check -> reason, from the author of the subject, why the check does not apply
    reported : checks whose values are reported but cannot fail, for properties that the subject does not promise
    """

    def __init__(
        self, subject: str, known: Collection[str], skip: Mapping[str, str] | None, reported: Collection[str]
    ) -> None:
        self.report = Report(subject)
        self.skip = skip or {}
        self.reported = reported
        if unknown := sorted({*self.skip, *reported} - set(known)):
            raise ValueError(f"no check is called {', '.join(unknown)}; there are: {', '.join(known)}")

    def run(self, name: str, check: Callable[[], Figure], may_refuse: bool = False) -> bool:
        """Run one check; return False if it failed.

        With `may_refuse`, an error of elmlff counts as a refusal, and the check is skipped.  An error that wraps an
        exception of a backend is not a refusal.
        """
        result = self._result(name, check, may_refuse)
        if name in self.reported and result.status in ("passed", "failed"):
            figure = result.figure and replace(result.figure, limit=None)
            result = Check(name, "reported", figure, result.note or "not promised")
        self.report.checks.append(result)
        return result.status != "failed"

    def _result(self, name: str, check: Callable[[], Figure], may_refuse: bool) -> Check:
        if name in self.skip:
            return Check(name, "skipped", note=self.skip[name])
        try:
            figure = check()
        except NotApplicable as reason:
            return Check(name, "skipped", note=str(reason))
        except AssertionError as error:
            return Check(name, "failed", note=first_line(error))
        except Exception as error:  # any other exception of the subject is a failure
            if may_refuse and isinstance(error, ElmlffError) and error.__cause__ is None:
                return Check(name, "skipped", note=f"refused: {first_line(error)}")
            return Check(name, "failed", note=f"{type(error).__name__}: {first_line(error)}")
        # Written so that NaN fails.
        passed = figure.limit is None or figure.value <= figure.limit
        return Check(name, "passed" if passed else "failed", figure, figure.note)
