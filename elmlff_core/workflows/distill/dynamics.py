"""Structures from molecular dynamics with a stack, so far apart that they are not correlated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from elmlff_core.contracts.progress import Reporter
from elmlff_core.contracts.structures import Structures
from elmlff_core.distillation.made import Source, starting_points
from elmlff_core.distillation.settings import DistillationSettings
from elmlff_core.execution.tasks import Task
from elmlff_core.files import read_record, write_record
from elmlff_core.simulation.beginning import key_of
from elmlff_core.simulation.guard import NO_GUARD, Guard
from elmlff_core.simulation.molecular_dynamics import run_dynamics
from elmlff_core.simulation.settings import DynamicsSettings
from elmlff_core.stack.place import StackPlace

TRAJECTORY, ENDED = "trajectory.extxyz", "ended.json"
FRAMES_PER_WANTED = 2  # that are written, so that enough are left where neighbours are correlated
MOST_CORRELATION = np.exp(-1)
BEYOND = 2.0  # a simulation ends where the error passes so many times the largest one of a structure that is kept


@dataclass(frozen=True)
class Simulation:
    """One simulation, which goes on where an earlier run was interrupted.

    Attributes
    ----------
    stack : the stack that moves the atoms, or whose base model does
    start : the structure where it starts
    settings : how atoms move
    folder : its folder
    largest_error : eV/Å; it ends where the calibrated error of an atom passes twice as much.  None if there is none
    """

    stack: StackPlace
    start: Atoms
    settings: DynamicsSettings
    folder: Path
    largest_error: float | None

    def __call__(self, reporter: Reporter) -> None:
        """Simulate, and note how it ended."""
        if self.ended:
            return
        guard = NO_GUARD if self.largest_error is None else Guard(BEYOND * self.largest_error)
        key = key_of(self.stack.folder, self.start, self.settings)
        found = run_dynamics(
            self.stack.load(), self.start, self.settings, self.folder, key, guard, TRAJECTORY, reporter
        )
        write_record(self.folder / ENDED, {"step": found.step, "stopped": found.stopped})

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return (self.folder / ENDED).exists()

    @property
    def stopped(self) -> str:
        """Why the guard ended it; empty if it did not."""
        record = read_record(self.folder / ENDED, dict[str, int | str], f"remove {self.folder}")
        return str(record["stopped"])

    def frames(self, n_most: int) -> Structures:
        """Return at most `n_most` frames that are not correlated, without the first, which is a training structure."""
        frames = ase.io.read(self.folder / TRAJECTORY, index=":", format="extxyz")[1:]
        if not frames:
            return Structures.of([])
        forces = np.stack([frame.get_forces(apply_constraint=False) for frame in frames])
        usable = np.arange(0, len(frames), uncorrelated_spacing(forces))
        chosen = usable[np.unique(np.linspace(0, len(usable) - 1, min(n_most, len(usable))).round().astype(int))]
        return Structures.of(frames[index] for index in chosen)


def simulations(
    source: Source,
    train: Sequence[Atoms],
    settings: DistillationSettings,
    stack: StackPlace,
    folder: Path,
    largest_error: float | None,
) -> Iterator[tuple[Task, Simulation, int]]:
    """Yield the simulations at one temperature as tasks, with the number of structures wanted of each."""
    n_starts = min(settings.starts, len(train), source.n_wanted)
    for place, index in enumerate(starting_points(train, n_starts)):
        n_wanted = source.n_wanted // n_starts + (place < source.n_wanted % n_starts)
        dynamics = DynamicsSettings(
            temperature=source.size, timestep=settings.timestep, driver=settings.driver,
            steps=FRAMES_PER_WANTED * n_wanted * settings.spacing,
            write_every=settings.spacing, observe_every=settings.spacing, seed=settings.seed + place,
        )  # fmt: skip
        own = folder / f"{source.size:g}K-{place}"
        simulation = Simulation(stack, train[index], dynamics, own.absolute(), largest_error)
        yield Task(f"{source.name}, start {place}", simulation), simulation, n_wanted


def uncorrelated_spacing(forces: np.ndarray) -> int:
    """Return how many frames apart the forces of a simulation are no longer correlated.

    It is one more than the last lag, among the first quarter of the frames, at which the correlation of the
    forces, less their mean over time, is above 1/e in size: vibrations let it oscillate.

    Parameters
    ----------
    forces : (n_frames, n_atoms, 3), eV/Å
    """
    moved = (forces - forces.mean(axis=0)).reshape(len(forces), -1)
    size = float((moved**2).mean())
    if not size:
        return 1
    lags = range(1, len(moved) // 4 + 1)
    correlations = [abs(float((moved[:-lag] * moved[lag:]).mean())) / size for lag in lags]
    high = [lag for lag, value in zip(lags, correlations, strict=True) if value > MOST_CORRELATION]
    return max(high, default=0) + 1
