"""What can go wrong with a worker: between its two ends, and as it is told to the user."""

from __future__ import annotations

from elmlff_core.errors import ForceFieldError


class WorkerDiedError(Exception):
    """The process ended; the message says how."""


class WorkerClosedError(Exception):
    """The worker was closed from another thread while it was at work."""


class WorkerTimeoutError(Exception):
    """No answer came in time."""


class RemoteTraceback(Exception):
    """The traceback of an exception in the worker, as text: the cause of a `WorkerError`."""

    def __str__(self) -> str:
        return f"in the worker:\n{self.args[0]}"


class WorkerError(ForceFieldError):
    """A worker that could not be started, failed on some structures, or was lost.

    Parameters
    ----------
    what : the message, up to the structures
    structures : indices of the structures it was at, or None where it was loading
    details : what follows the structures in the message, such as what the worker printed last
    """

    def __init__(self, what: str, structures: range | None = None, details: str = "") -> None:
        self.what, self.structures, self.details = what, structures, details
        where = ""
        if structures:
            one = len(structures) == 1
            where = f", at structure {structures[0]}" if one else f", at structures {structures[0]} to {structures[-1]}"
        super().__init__(f"{what}{where}{details}")

    def shifted(self, by: int) -> WorkerError:
        """The same error, its structures counted from `by` structures earlier."""
        if self.structures is None:
            return self
        moved = range(self.structures.start + by, self.structures.stop + by)
        return WorkerError(self.what, moved, self.details)
