"""Errors of workers: those of the communication, and the error that the user gets."""

from __future__ import annotations

from elmlff_core.errors import ForceFieldError


class WorkerDiedError(Exception):
    """The process ended; the message describes how."""


class WorkerClosedError(Exception):
    """The worker was closed from another thread during a request."""


class WorkerTimeoutError(Exception):
    """The worker did not answer in time."""


class RemoteTraceback(Exception):
    """The traceback of an exception in the worker, as text: the cause of a `WorkerError`."""

    def __str__(self) -> str:
        return f"in the worker:\n{self.args[0]}"


class WorkerError(ForceFieldError):
    """A worker could not be started, failed for some structures, or ended unexpectedly.

    Parameters
    ----------
    what : the message, up to the structures
    structures : indices of the structures of the request, or None if the worker was loading
    details : the message after the structures, such as the last output of the worker
    """

    def __init__(self, what: str, structures: range | None = None, details: str = "") -> None:
        self.what, self.structures, self.details = what, structures, details
        where = ""
        if structures:
            one = len(structures) == 1
            where = f", at structure {structures[0]}" if one else f", at structures {structures[0]} to {structures[-1]}"
        super().__init__(f"{what}{where}{details}")

    def shifted(self, by: int) -> WorkerError:
        """Return the same error with `by` added to the indices of its structures."""
        if self.structures is None:
            return self
        moved = range(self.structures.start + by, self.structures.stop + by)
        return WorkerError(self.what, moved, self.details)
