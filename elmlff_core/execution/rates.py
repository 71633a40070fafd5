"""Rates of long steps as this user has measured them, from which plans estimate times.

The latest measurement of a kind of step replaces the one before.  Times depend on the machine, so they are kept in the
cache folder, and no result depends on them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from elmlff_core.arrays import cache_folder
from elmlff_core.errors import ElmlffError
from elmlff_core.files import read_record, write_record

FOLDER = "rates"


class Rate(TypedDict):
    """What was measured: seconds for each unit of work, and the most memory of the process until then, in bytes."""

    seconds: float
    memory: int


@dataclass(frozen=True)
class Kind:
    """A kind of step, of which a rate is known or will be.

    Attributes
    ----------
    step : ``training``, ``predicting`` or ``fitting``
    what : name of the adapter or meta-model
    options : its options, on which the rate depends
    """

    step: str
    what: str
    options: Any

    def rate(self) -> Rate | None:
        """Return the rate of this kind or, if there is none, of the same with other options; None if there is none."""
        similar = sorted(_folder().glob(f"{self.step}-{self.what}-*.json"), key=lambda path: path != self._path)
        for path in similar:
            with contextlib.suppress(ElmlffError):
                return read_record(path, Rate)
        return None

    def note(self, seconds: float, amount: float) -> None:
        """Keep what a step of `amount` units took; without a writable cache nothing is kept."""
        with contextlib.suppress(ElmlffError, OSError):
            _folder().mkdir(parents=True, exist_ok=True)
            write_record(self._path, Rate(seconds=seconds / amount, memory=peak_memory()))

    @property
    def _path(self) -> Path:
        digest = hashlib.sha256(json.dumps(self.options, sort_keys=True).encode()).hexdigest()
        return _folder() / f"{self.step}-{self.what}-{digest[:10]}.json"


def peak_memory() -> int:
    """Return the most memory that this process has used, or one that it has started and that has ended; bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _folder() -> Path:
    return cache_folder() / FOLDER
