"""Comparison: student, stack, base models and control, in errors, speed and conservation of energy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.verlet import VelocityVerlet

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.prediction import dataset_features
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.evaluation.model_errors import ModelErrors, errors_of
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.simulation.drivers import BaseModelCalculator
from elmlff_core.simulation.integrators import start_velocities
from elmlff_core.simulation.settings import DynamicsSettings
from elmlff_core.stack.calculator import StackCalculator
from elmlff_core.stack.stack import Stack

TEST, MADE = "test", "made"
TITLES = {TEST: "held-out reference", MADE: "held-out made, against the stack"}
ROUNDS, STEPS_OF_A_ROUND = 3, 8  # of the measurement of speed
LONGEST_ROUND = 2.0  # s; a slow model makes fewer steps
MOVE = 0.002  # Å, between two steps that are timed: no calculator may find its last structure again
N_FURTHEST = 10


def errors_of_stack(stack: Stack, datasets: Mapping[str, Dataset], reporter: Reporter) -> list[ModelErrors]:
    """Return the errors of the base models and of the stack; on made structures those of the base models alone.

    Energies of base models are aligned as in the stack.
    """
    cache = FeatureCache()
    features = {
        name: dataset_features(stack.base_models, dataset, cache, reporter) for name, dataset in datasets.items()
    }
    found = []
    for name in stack.names:
        predictions = {split: stack.alignment.aligned_prediction(name, one) for split, one in features.items()}
        found.append(ModelErrors(name, "base model", errors_of(predictions, features)))
    own = {split: features[split] for split in features if split != MADE}
    predictions = {split: in_blocks(one, stack.meta.predict) for split, one in own.items()}
    found.append(ModelErrors(f"stack ({stack.meta_name})", "stack", errors_of(predictions, own), meta=stack.meta_name))
    return found


def errors_of_student(
    model: NamedModel, train: Dataset, datasets: Mapping[str, Dataset], chosen: bool, reporter: Reporter
) -> ModelErrors:
    """Return the errors of a student, with its energies aligned to the reference energies in `train`."""
    cache = FeatureCache()
    alignment = EnergyCombination.fit(dataset_features([model], train, cache, reporter))
    features = {name: dataset_features([model], dataset, cache, reporter) for name, dataset in datasets.items()}
    predictions = {split: alignment.aligned_prediction(model.name, one) for split, one in features.items()}
    title = f"{model.name} ({model.config.adapter})"
    return ModelErrors(title, model.name, errors_of(predictions, features), chosen=chosen)


@dataclass(frozen=True)
class Speed:
    """The time of a step of molecular dynamics in ASE.

    Attributes
    ----------
    name : the model
    seconds : of one step, the median
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
                moving, began = atoms.copy(), time.perf_counter()
                for _ in range(STEPS_OF_A_ROUND if number else 1):
                    moving.positions += rng.normal(scale=MOVE, size=(len(moving), 3))
                    started = time.perf_counter()
                    calculator.get_property("forces", moving)
                    if number:
                        seconds[name].append(time.perf_counter() - started)
                    if time.perf_counter() - began > LONGEST_ROUND:
                        break
            progress(Progress(number, ROUNDS))
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return [Speed(name, value, 86400 / value * timestep * 1e-6) for name, value in medians.items()]


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


@dataclass(frozen=True)
class Furthest:
    """A held-out structure of which the student is not sure.

    Attributes
    ----------
    group : ``test`` or ``made``
    index : its index in that group, from 0
    formula : chemical formula
    expected : eV/Å, the largest calibrated standard deviation of force components on an atom
    outside : how far its furthest atom is from the student's data; above 1 it is outside
    found : eV/Å, RMSE of force components over its atoms against the labels
    """

    group: str
    index: int
    formula: str
    expected: float
    outside: float
    found: float


def furthest(student: Stack, datasets: Mapping[str, Dataset]) -> list[Furthest]:
    """Return the held-out structures with the largest calibrated errors of the student, largest first."""
    entries = []
    for group, dataset in datasets.items():
        found = student.predict(dataset.structures)
        assert found.forces_std is not None
        assert found.outside is not None
        error = ((found.forces - dataset.forces) ** 2).mean(axis=1)
        starts = found.offsets[:-1]
        expected = np.maximum.reduceat(found.forces_std, starts)
        outside = np.maximum.reduceat(found.outside, starts)
        rmse = np.sqrt(np.add.reduceat(error, starts) / found.n_atoms)
        for index in np.lexsort((-outside, -expected))[:N_FURTHEST].tolist():
            formula = dataset.structures[index].get_chemical_formula()
            entries.append(
                Furthest(group, index, formula, float(expected[index]), float(outside[index]), float(rmse[index]))
            )
    return sorted(entries, key=lambda one: (-one.expected, -one.outside))[:N_FURTHEST]


def n_outside(student: Stack, dataset: Dataset) -> int:
    """Return how many structures of `dataset` have an atom outside the student's data."""
    found = student.predict(dataset.structures)
    assert found.outside is not None
    return int((np.maximum.reduceat(found.outside, found.offsets[:-1]) > 1).sum())


def as_features(model: NamedModel, dataset: Dataset, reporter: Reporter) -> Features:
    """Return the predictions of one model with the labels of `dataset`."""
    return dataset_features([model], dataset, FeatureCache(), reporter)
