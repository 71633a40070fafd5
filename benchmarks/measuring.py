"""What all benchmarks share: timing of ways in turns, and rows that a reader and `run.py` understand."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from elmlff_core.resources import keep_freed_memory

keep_freed_memory()  # as elmlff itself does before long work; both ways have it
MARK = "#row "  # before the JSON of a row, for run.py


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes
    ----------
    what, against : the two ways
    here, there : what was measured of each, with units
    ratio : the number that `bound` is about
    bound : to be reached
    sense : whether the ratio has to be at least or at most the bound
    note : what a reader should know
    """

    what: str
    against: str
    here: str
    there: str
    ratio: float
    bound: float
    sense: Literal["at least", "at most"]
    note: str = ""

    @property
    def reached(self) -> bool:
        """Whether the bound is kept."""
        return self.ratio >= self.bound if self.sense == "at least" else self.ratio <= self.bound

    @property
    def line(self) -> str:
        """For a reader."""
        verdict = "reached" if self.reached else "NOT reached"
        note = f" ({self.note})" if self.note else ""
        return (
            f"{self.what}: {self.here}; {self.against}: {self.there}; "
            f"ratio {self.ratio:.3g}, {self.sense} {self.bound:g}: {verdict}{note}"
        )

    def print(self) -> None:
        """For a reader, and for `run.py`."""
        print(self.line)
        print(MARK + json.dumps(asdict(self) | {"reached": self.reached}), flush=True)


def medians(ways: Mapping[str, Callable[[], Any]], repeats: int = 7) -> dict[str, float]:
    """Median seconds of each way; they take turns, so that all meet the same machine, after a round that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> dict[str, Any]:
    """What numbers may depend on."""
    return {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "cores": len(os.sched_getaffinity(0)),
        "load average": round(os.getloadavg()[0], 1),
    }


def shown(seconds: float) -> str:
    """A time in a unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            return f"{seconds / size:.3g} {unit}"
    raise AssertionError
