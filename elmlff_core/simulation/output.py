"""Files that grow during a simulation, and are cut back to the last restart point before it goes on."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import ase.io
from ase import Atoms
from ase.io.trajectory import Trajectory

from elmlff_core.errors import ConfigError, ElmlffError
from elmlff_core.files import replacing

# Arrays of frames that ASE's own format does not know.
ADDED_ARRAYS = {"forces_uncertainty", "outside", "forces_comm"}
TRAJECTORIES = (".extxyz", ".xyz", ".traj")


class TextFile:
    """A text file; its length is in bytes."""

    def __init__(self, path: Path, head: str = "") -> None:
        self.path, self.head = path, head

    @property
    def length(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, length: int) -> None:
        if self.length < length:
            raise _shorter(self.path)
        if self.path.exists():
            with self.path.open("r+b") as file:
                file.truncate(length)

    def write(self, text: str) -> None:
        """Append `text`."""
        text = text if self.length else self.head + text
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(text)

    def write_row(self, cells: Sequence[object]) -> None:
        """Append a row of comma-separated values."""
        row = io.StringIO()
        csv.writer(row, lineterminator="\n").writerow(cells)
        self.write(row.getvalue())


class ExtxyzTrajectory(TextFile):
    """Frames in extxyz format."""

    def add(self, frame: Atoms) -> None:
        """Append `frame`."""
        text = io.StringIO()
        ase.io.write(text, frame, format="extxyz")
        self.write(text.getvalue())


class AseTrajectory:
    """Frames in ASE's own format; its length is in frames."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def length(self) -> int:
        if not self.path.exists():
            return 0
        with Trajectory(self.path) as frames:
            return len(frames)

    def cut(self, length: int) -> None:
        if not self.path.exists():
            if length:
                raise _shorter(self.path)
            return
        if not length:
            self.path.unlink()
            return
        # A frame that was cut off in the middle is not counted in the file: reading the others is safe.
        with Trajectory(self.path) as frames:
            if len(frames) < length:
                raise _shorter(self.path)
            with replacing(self.path) as partial, Trajectory(partial, "w") as kept:
                for index in range(length):
                    kept.write(frames[index])

    def add(self, frame: Atoms) -> None:
        """Append `frame`; ``info`` gets the arrays that this format does not know."""
        for name in ADDED_ARRAYS & set(frame.arrays):
            frame.info[name] = frame.arrays[name]
        with Trajectory(self.path, "a") as frames:
            frames.write(frame)


def trajectory(path: Path) -> ExtxyzTrajectory | AseTrajectory:
    """Return the trajectory at `path`, whose name tells its format; ConfigError for another name."""
    if path.suffix not in TRAJECTORIES:
        raise ConfigError(f"the trajectory {path.name} must end in one of {', '.join(TRAJECTORIES)}")
    return AseTrajectory(path) if path.suffix == ".traj" else ExtxyzTrajectory(path)


def _shorter(path: Path) -> ElmlffError:
    return ElmlffError(
        f"{path} is shorter than when the simulation was saved: restore it, or remove {path.parent} to start anew"
    )
