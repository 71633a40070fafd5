"""Molecular dynamics with a stack in a folder: files, restart points, and a guard that watches the uncertainty."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.md import MolecularDynamics

from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.errors import ConfigError
from elmlff_core.settings.run_folder import RunFolder
from elmlff_core.simulation.drivers import check_stress, driver_of
from elmlff_core.simulation.guard import NO_GUARD, Guard, Watch
from elmlff_core.simulation.integrators import carried, carry, make_integrator, set_temperature, start_velocities
from elmlff_core.simulation.model_deviation import HEADER, line, model_deviation
from elmlff_core.simulation.output import AseTrajectory, ExtxyzTrajectory, TextFile, trajectory
from elmlff_core.simulation.restart import RestartPoint, load_restart_point
from elmlff_core.simulation.settings import DynamicsSettings
from elmlff_core.stack.calculator import StackCalculator
from elmlff_core.stack.conservation import why_not_conserved
from elmlff_core.stack.frames import observed_frame
from elmlff_core.stack.outside import outside_warning
from elmlff_core.stack.stack import Stack, StackPrediction

LOG_FILE, DEVIATION_FILE = "log.csv", "model_devi.out"
LOG_COLUMNS = (
    "step", "time_ps", "temperature_K", "potential_energy_eV", "kinetic_energy_eV", "total_energy_eV", "pressure_GPa",
    "volume_A3", "largest_forces_uncertainty_eV_A", "largest_outside",
)  # fmt: skip


@dataclass(frozen=True)
class DynamicsResult:
    """How a simulation ended.

    Attributes
    ----------
    atoms : the last structure, with velocities
    step : number of steps made
    stopped : why the guard ended the simulation; empty if it did not
    folder : the folder with the files
    """

    atoms: Atoms
    step: int
    stopped: str
    folder: Path


def run_dynamics(
    stack: Stack,
    structure: Atoms,
    settings: DynamicsSettings,
    folder: Path,
    key: str,
    guard: Guard = NO_GUARD,
    trajectory_name: str = "trajectory.extxyz",
    reporter: Reporter | None = None,
) -> DynamicsResult:
    """Run molecular dynamics, or go on with the simulation in `folder`, whose end is then the same bit for bit.

    The folder gets the trajectory, ``log.csv``, ``model_devi.out`` and restart points.

    Parameters
    ----------
    stack : the stack
    structure : where the simulation starts, with velocities if it has any
    settings : how atoms move
    folder : for the files
    key : digest of what the simulation depends on; a folder with another one is refused
    guard : what to do where the uncertainty is large
    trajectory_name : name of the trajectory; its ending is its format
    reporter : where progress is reported

    Raises
    ------
    ElmlffError
        The folder holds another simulation or damaged files; the stack or a base model cannot be applied; the ensemble
        needs a stress that there is none of, or the guard an uncertainty.
    """
    reporter = reporter or Reporter()
    files = _Files(folder, trajectory(folder / trajectory_name))
    run = RunFolder.open(folder, key, settings)
    simulation = _Simulation.start(stack, structure, settings, run.path, files, guard, reporter)
    with reporter.progress("molecular dynamics") as progress:
        simulation.run(progress)
    return DynamicsResult(simulation.atoms, simulation.step, simulation.stopped, run.path)


class _Files:
    """The files of a simulation."""

    def __init__(self, folder: Path, frames: ExtxyzTrajectory | AseTrajectory) -> None:
        self.frames = frames
        self.log = TextFile(folder / LOG_FILE, head=",".join(LOG_COLUMNS) + "\n")
        self.deviation = TextFile(folder / DEVIATION_FILE, head=HEADER)

    @property
    def all(self) -> tuple[TextFile | AseTrajectory, ...]:
        return self.frames, self.log, self.deviation

    def lengths(self) -> dict[str, int]:
        return {file.path.name: file.length for file in self.all}

    def cut(self, lengths: dict[str, int]) -> None:
        for file in self.all:
            if file.path.name not in lengths:
                raise ConfigError(f"this simulation wrote no {file.path.name}: name the trajectory as before")
            file.cut(lengths[file.path.name])


@dataclass
class _Simulation:
    """A simulation under way."""

    atoms: Atoms
    observer: StackCalculator
    integrator: MolecularDynamics
    rng: np.random.Generator
    settings: DynamicsSettings
    folder: Path
    files: _Files
    watch: Watch
    reporter: Reporter
    step: int = 0
    stopped: str = ""
    has_warned: bool = False
    started: float = field(default_factory=time.monotonic)
    first_step: int = 0

    @classmethod
    def start(
        cls,
        stack: Stack,
        structure: Atoms,
        settings: DynamicsSettings,
        folder: Path,
        files: _Files,
        guard: Guard,
        reporter: Reporter,
    ) -> _Simulation:
        """Prepare the simulation, at its beginning or at its last restart point."""
        observer = StackCalculator(stack, warn=False)  # the simulation says it, with the step
        atoms, rng = structure.copy(), np.random.default_rng(settings.seed)
        atoms.calc = driver_of(observer, settings.driver)
        point = load_restart_point(folder, atoms)
        if point is None:
            files.cut(dict.fromkeys(files.lengths(), 0))
            if start_velocities(atoms, settings, rng):
                reporter.say(f"velocities drawn at {settings.temperature:g} K (seed {settings.seed})")
        if settings.ensemble == "nve" and atoms.calc is observer and (reason := why_not_conserved(stack)):
            reporter.warn(reason)
        if settings.ensemble == "npt":
            check_stress(atoms, observer)
        integrator = make_integrator(atoms, settings, rng)
        found = cls(atoms, observer, integrator, rng, settings, folder, files, Watch(guard, reporter), reporter)
        if guard.bound is not None:
            found._observe()
            assert observer.prediction is not None
            found.watch.check(observer.prediction)
        if point is None:
            found._watch(0)
            found._keep()
        else:
            rng.bit_generator.state = point.random
            carry(integrator, point.carried)
            files.cut(point.lengths)
            found.step = found.first_step = point.step
            if point.stopped:  # the bound may be another one now
                found._observe()
                assert observer.prediction is not None
                found._apply_guard(point.step, observer.prediction)
            if point.step < settings.steps and not found.stopped:
                reporter.say(f"going on after step {point.step}")
        return found

    def run(self, progress: Any) -> None:
        """Make the steps that are left."""
        while self.step < self.settings.steps and not self.stopped:
            set_temperature(self.integrator, self.settings.temperature_at(self.step))
            self.integrator.step()
            self.step += 1
            self._watch(self.step)
            if self.stopped or self.step == self.settings.steps or self.step % self.settings.write_every == 0:
                self._keep()
            progress(Progress(self.step, self.settings.steps, self._message()))

    def _watch(self, step: int) -> None:
        """Let the stack look at the structure, write the deviation of the base models, and apply the guard."""
        looks = step % self.settings.observe_every == 0
        if looks or step % self.settings.write_every == 0 or step == self.settings.steps:
            self._observe()
        elif self.atoms.calc is not self.observer:
            return
        if looks and self.observer.features is not None:
            self.files.deviation.write(line(step, model_deviation(self.observer.features)))
        found = self.observer.prediction
        assert found is not None
        if not self.has_warned and (warning := outside_warning(self.observer.stack, found)):
            self.has_warned = True
            self.reporter.warn(f"step {step}: {warning}. It is not said again")
        self._apply_guard(step, found)

    def _apply_guard(self, step: int, found: StackPrediction) -> None:
        """Stop or warn if the uncertainty of an atom passes the bound."""
        if stop := self.watch.look(found, "step", step):
            self.stopped = stop.reason

    def _observe(self) -> None:
        """Have the predictions of the stack for the structure as it is."""
        self.observer.get_property("forces", self.atoms)

    def _keep(self) -> None:
        """Write a frame, a row of the log, and a restart point."""
        frame = observed_frame(self.atoms, self.observer, self.settings.committee)
        frame.set_momenta(self.atoms.get_momenta())
        frame.info |= {"step": self.step, "time_ps": self._picoseconds()}
        self.files.frames.add(frame)
        self.files.log.write_row(self._row())
        RestartPoint(
            self.step, dict(self.rng.bit_generator.state), carried(self.integrator), self.files.lengths(), self.stopped
        ).save(self.folder, self.atoms)

    def _row(self) -> list[object]:
        atoms, found = self.atoms, self.observer.prediction
        assert found is not None
        results = atoms.calc.results
        kinetic, potential = float(atoms.get_kinetic_energy()), results.get("energy")
        pressure = None
        if "stress" in results:
            pressure = -np.trace(atoms.get_stress(voigt=False, include_ideal_gas=True)) / 3 / units.GPa
        numbers = (
            self._picoseconds(), atoms.get_temperature(), potential, kinetic,
            None if potential is None else potential + kinetic, pressure,
            atoms.get_volume() if atoms.cell.rank == 3 else None,
            None if found.forces_std is None else found.forces_std.max(),
            None if found.outside is None else found.outside.max(),
        )  # fmt: skip
        return [self.step, *("" if number is None else f"{number:.10g}" for number in numbers)]

    def _picoseconds(self) -> float:
        return round(self.step * self.settings.timestep / 1000, 9)

    def _message(self) -> str:
        seconds = max(time.monotonic() - self.started, 1e-9)
        per_day = (self.step - self.first_step) * self.settings.timestep * 1e-6 / seconds * 86400
        return f"{self._picoseconds():g} ps, {self.atoms.get_temperature():.0f} K, {per_day:.3g} ns/day"
