"""Functions of all benchmarks: timing of several ways in turn, and output for readers and for `run.py`."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from elmlff_core.resources import keep_freed_memory

keep_freed_memory()  # elmlff does this before long work; here it applies to all ways
MARK = "#row "  # precedes the JSON of a comparison, for run.py


@dataclass(frozen=True)
class Comparison:
    """Comparison of two ways to compute the same.

    Attributes
    ----------
    what, against : names of the two ways
    here, there : measured value of each, with unit
    ratio : ratio of the values, which is compared with `bound`
    bound : the aim
    sense : whether the ratio should be at least or at most the bound
    note : further information for readers
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
        """Whether the aim is reached."""
        return self.ratio >= self.bound if self.sense == "at least" else self.ratio <= self.bound

    @property
    def line(self) -> str:
        """The comparison as a line of text."""
        result = "reached" if self.reached else "NOT reached"
        note = f" ({self.note})" if self.note else ""
        return (
            f"{self.what}: {self.here}; {self.against}: {self.there}; "
            f"ratio {self.ratio:.3g}, {self.sense} {self.bound:g}: {result}{note}"
        )

    def print(self) -> None:
        """Print the comparison for readers, and as JSON for `run.py`."""
        print(self.line)
        print(MARK + json.dumps(asdict(self) | {"reached": self.reached}), flush=True)


def medians(ways: Mapping[str, Callable[[], Any]], repeats: int = 7) -> dict[str, float]:
    """Return the median seconds of each way.

    The ways are run in turn, so that all have the same conditions; a first round is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> dict[str, Any]:
    """Return properties of the machine on which times may depend."""
    return {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "cores": len(os.sched_getaffinity(0)),
        "load average": round(os.getloadavg()[0], 1),
    }


def shown(seconds: float) -> str:
    """Return a time as text, with a suitable unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            return f"{seconds / size:.3g} {unit}"
    raise AssertionError
