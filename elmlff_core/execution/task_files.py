"""Files of a task, by which a worker on any machine with the same folder tells how far it is: a status and a log."""

from __future__ import annotations

import os
import platform
import re
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from elmlff_core.contracts.progress import Progress, ProgressCallback, Reporter
from elmlff_core.errors import ElmlffError
from elmlff_core.files import read_record, write_record

STATUS_INTERVAL = 1.0  # s between two writings of the status


class Status(TypedDict):
    """What the status of a task holds: the machine and process, when it began, and how far it is."""

    where: str
    began: float
    done: int
    total: int
    message: str


class TaskFiles:
    """The status and the log of the task `name` in `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        stem = re.sub(r"[^A-Za-z0-9_.+-]+", "-", name)
        self.log, self._status = folder / f"{stem}.log", folder / f"{stem}.status"

    def status(self) -> Status | None:
        """Return the latest status; None if the task has not begun, or the file is not readable now."""
        try:
            return read_record(self._status, Status)
        except ElmlffError:
            return None

    def clear(self) -> None:
        """Remove the status of an earlier run."""
        self._status.unlink(missing_ok=True)

    def write(self, status: Status) -> None:
        """Write the status."""
        write_record(self._status, status)

    def say(self, text: str) -> None:
        """Add a line to the log, with the time."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


class TaskReporter(Reporter):
    """Reports to the files of a task."""

    def __init__(self, files: TaskFiles) -> None:
        self._files = files
        self._where, self._began = f"{platform.node()}:{os.getpid()}", time.time()
        self._written, self._latest = 0.0, Progress(0, 0)
        self._write()

    def say(self, text: str) -> None:
        self._files.say(text)

    def warn(self, text: str) -> None:
        self._files.say(f"note: {text}")

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCallback]:
        self._files.say(f"{title}: begins")

        def update(step: Progress) -> None:
            self._latest = Progress(step.done, step.total, step.message or self._latest.message)
            if time.monotonic() - self._written >= STATUS_INTERVAL:
                self._write()

        yield update
        self._files.say(f"{title}: done. {self._latest.message}".rstrip())

    def failed(self, error: Exception) -> str:
        """Log the traceback of `error`, and return what it says."""
        self._files.say("".join(traceback.format_exception(error)).rstrip())
        return str(error) if isinstance(error, ElmlffError) else f"{type(error).__name__}: {error}"

    def _write(self) -> None:
        self._written = time.monotonic()
        done, total, message = self._latest.done, self._latest.total, self._latest.message
        self._files.write(Status(where=self._where, began=self._began, done=done, total=total, message=message))
