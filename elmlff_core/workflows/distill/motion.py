"""Student, stack and base models in motion: the time of a step, and conservation of energy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.verlet import VelocityVerlet

from elmlff_core.base_models.named import NamedModel
from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.simulation.drivers import BaseModelCalculator
from elmlff_core.simulation.integrators import start_velocities
from elmlff_core.simulation.settings import DynamicsSettings
from elmlff_core.stack.calculator import StackCalculator
from elmlff_core.stack.stack import Stack

ROUNDS, STEPS_OF_A_ROUND = 10, 4  # of the measurement of speed
LONGEST = 15.0  # s; a slow model makes fewer rounds, but at least `FEWEST_STEPS` steps
FEWEST_STEPS = 3
MOVE = 0.002  # Å, between two steps that are timed: no calculator may find its last structure again


@dataclass(frozen=True)
class Speed:
    """The time of a step of molecular dynamics in ASE.

    Attributes
    ----------
    name : the model
    seconds : of one step, the shortest of many
    ns_per_day : at the timestep of the distillation
    """

    name: str
    seconds: float
    ns_per_day: float


def calculators_of(stack: Stack, student: NamedModel, student_stack: Stack) -> dict[str, Calculator]:
    """Return the calculators whose speed is compared."""
    base_models = {model.name: BaseModelCalculator(model) for model in stack.base_models}
    return {
        f"stack ({stack.meta_name})": StackCalculator(stack, warn=False),
        **base_models,
        f"student ({student.config.adapter})": BaseModelCalculator(student),
        "student with its uncertainty": StackCalculator(student_stack, warn=False),
    }


def speeds(calculators: Mapping[str, Calculator], atoms: Atoms, timestep: float, reporter: Reporter) -> list[Speed]:
    """Time steps with each calculator, one after the other in several rounds, so that a busy machine slows all alike.

    Parameters
    ----------
    calculators : name -> calculator
    atoms : the structure
    timestep : fs
    reporter : shows progress
    """
    rng, seconds = np.random.default_rng(0), {name: list[float]() for name in calculators}
    with reporter.progress("timing steps") as progress:
        for number in range(ROUNDS + 1):  # the first loads and compiles
            for name, calculator in calculators.items():
                moving = atoms.copy()
                for _ in range(STEPS_OF_A_ROUND):
                    if sum(seconds[name]) > LONGEST and len(seconds[name]) >= FEWEST_STEPS:
                        break
                    moving.positions += rng.normal(scale=MOVE, size=(len(moving), 3))
                    started = time.perf_counter()
                    calculator.get_property("forces", moving)
                    if not number:
                        break
                    seconds[name].append(time.perf_counter() - started)
            progress(Progress(number, ROUNDS))
    # The shortest: on a busy machine, steps that follow a wait for a worker are interrupted less often than the others.
    shortest = {name: min(values) for name, values in seconds.items()}
    return [Speed(name, value, 86400 / value * timestep * 1e-6) for name, value in shortest.items()]


@dataclass(frozen=True)
class Conservation:
    """How well a student conserves the energy in molecular dynamics without a thermostat.

    Attributes
    ----------
    drift : meV/ps per atom, slope of the total energy over time
    fluctuation : meV per atom, standard deviation around this slope
    picoseconds : length of the simulation
    temperature : K, of its beginning
    """

    drift: float
    fluctuation: float
    picoseconds: float
    temperature: float


def conservation(
    model: NamedModel, atoms: Atoms, temperature: float, timestep: float, n_steps: int, seed: int, reporter: Reporter
) -> Conservation | None:
    """Run `n_steps` with velocity Verlet and return what becomes of the energy; None if the model has none."""
    settings = DynamicsSettings(ensemble="nve", temperature=temperature, timestep=timestep, seed=seed)
    moving = atoms.copy()
    moving.calc = BaseModelCalculator(model)
    moving.get_forces()
    if "energy" not in moving.calc.results:
        return None
    start_velocities(moving, settings, np.random.default_rng(seed))
    integrator = VelocityVerlet(moving, timestep * units.fs)
    energies = [moving.get_total_energy()]
    with reporter.progress("molecular dynamics without a thermostat") as progress:
        for step in range(n_steps):
            integrator.step()
            energies.append(moving.get_total_energy())
            progress(Progress(step + 1, n_steps))
    times = np.arange(len(energies)) * timestep / 1000
    per_atom = 1000 * np.array(energies) / len(atoms)
    slope, start = np.polyfit(times, per_atom, 1)
    rest = per_atom - slope * times - start
    return Conservation(float(slope), float(rest.std()), float(times[-1]), temperature)
