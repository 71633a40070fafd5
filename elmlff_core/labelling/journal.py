"""Journals: files to which workers append what they have computed, one line for each structure.

A line that a killed worker has left torn is not read.  A structure whose computation has begun several times and never
ended has killed its worker each time; it counts as failed, or the same command would never come to its end.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from elmlff_core.labelling.frames import Labels

MOST_BEGINNINGS = 3


@dataclass
class Known:
    """What is known by the journals in a folder.

    Attributes
    ----------
    labels : structure -> its labels
    failures : structure -> why it has none
    begun : structure -> how often its computation has begun
    """

    labels: dict[int, Labels] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    begun: dict[int, int] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Known:
        """Read all journals; what was computed twice is taken from the first."""
        known = cls()
        for path in sorted(folder.glob("*.journal")):
            for record in _records(path):
                known._add(record)
        for index in known.labels:  # it failed, and was tried again
            known.failures.pop(index, None)
        for index, times in known.begun.items():
            if times >= MOST_BEGINNINGS and index not in known.labels and index not in known.failures:
                known.failures[index] = f"its computation has begun {times} times, and each time its process was ended"
        return known

    def _add(self, record: dict[str, Any]) -> None:
        index = int(record["frame"])
        match record["what"]:
            case "begun":
                self.begun[index] = self.begun.get(index, 0) + 1
            case "failed":
                self.failures.setdefault(index, str(record["reason"]))
            case "labels":
                stress = record["stress"]
                forces = np.array(record["forces"], dtype=np.float64).reshape(-1, 3)
                labels = Labels(float(record["energy"]), forces, None if stress is None else np.array(stress))
                self.labels.setdefault(index, labels)


class Journal:
    """A journal to which one worker appends."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            self._write("\n")  # what a killed worker has left torn ends here, and the next line is whole

    def begun(self, frame: int) -> None:
        """Note that the computation of a structure begins."""
        self._append({"what": "begun", "frame": frame})

    def failed(self, frame: int, reason: str) -> None:
        """Note that a structure has no labels."""
        self._append({"what": "failed", "frame": frame, "reason": reason})

    def labels(self, frame: int, labels: Labels) -> None:
        """Note the labels of a structure."""
        stress = None if labels.stress is None else labels.stress.tolist()
        found = {"energy": labels.energy, "forces": labels.forces.tolist(), "stress": stress}
        self._append({"what": "labels", "frame": frame, **found})

    def _append(self, record: dict[str, Any]) -> None:
        text = json.dumps(record)
        self._write(f"{zlib.crc32(text.encode()):08x} {text}\n")

    def _write(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of the whole lines of a journal."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        checksum, _, text = line.partition(" ")
        if checksum == f"{zlib.crc32(text.encode()):08x}":
            yield json.loads(text)
