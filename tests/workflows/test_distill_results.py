"""Speed, energy and words of a distillation's results."""

from __future__ import annotations

import time
from typing import ClassVar

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.morse import MorsePotential
from ase.md.verlet import VelocityVerlet

from elmlff_core.base_models.named import named_model
from elmlff_core.contracts.progress import Reporter
from elmlff_core.evaluation.model_errors import ModelErrors
from elmlff_core.settings.config import ModelConfig
from elmlff_core.simulation.integrators import start_velocities
from elmlff_core.simulation.settings import DynamicsSettings
from elmlff_core.workflows.distill.motion import Speed, conservation, speeds
from elmlff_core.workflows.distill.results import advice, summary_of


class Slow(Calculator):
    """Waits for a known time, and counts its calculations."""

    implemented_properties: ClassVar[list[str]] = ["forces"]

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.calls = seconds, 0

    def calculate(self, atoms=None, properties=("forces",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        time.sleep(self.seconds)
        self.results = {"forces": np.zeros((len(atoms), 3))}


def test_every_timed_step_is_a_calculation():
    calculators = {"slow": Slow(0.02), "fast": Slow(0.001)}
    slow, fast = speeds(calculators, Atoms("H"), 0.5, Reporter())
    assert calculators["slow"].calls == calculators["fast"].calls == 1 + 10 * 4
    assert slow.seconds >= 0.02
    assert slow.ns_per_day == pytest.approx(86400 / slow.seconds * 0.5e-6)
    assert (slow.name, fast.name) == ("slow", "fast")


def test_the_drift_is_that_of_ases_integrator():
    options = {"calculator": "ase.calculators.morse:MorsePotential", "arguments": {"epsilon": 0.4, "r0": 2.6}}
    model = named_model("student", ModelConfig(adapter="ase", options=options))
    start = bulk("Cu", cubic=True, a=3.7).repeat((2, 1, 1))
    found = conservation(model, start, 300.0, 4.0, 60, 5, Reporter())
    assert found is not None
    moving = start.copy()
    moving.calc = MorsePotential(epsilon=0.4, r0=2.6)
    settings = DynamicsSettings(ensemble="nve", temperature=300.0, timestep=4.0, seed=5)
    start_velocities(moving, settings, np.random.default_rng(5))
    energies = []
    integrator = VelocityVerlet(moving, 4.0 * units.fs)
    integrator.attach(lambda: energies.append(moving.get_total_energy()))
    integrator.run(60)
    slope = np.polyfit(0.004 * np.arange(61), 1000 * np.array(energies) / 8, 1)[0]
    assert found.drift == pytest.approx(slope, rel=1e-6)
    assert found.picoseconds == pytest.approx(0.24)


def errors(kind: str, name: str, value: float) -> ModelErrors:
    return ModelErrors(name, kind, {"test": {"rmse_per_frame": value}})


def test_the_summary_says_also_that_a_student_is_no_better_than_the_control():
    found = [
        errors("stack", "stack (x)", 0.02),
        errors("control", "control", 0.025),
        errors("student", "student", 0.03),
    ]
    text = summary_of(found, [Speed("stack (x)", 0.1, 1.0), Speed("student", 0.004, 25.0)])
    assert "1.50 times that of the stack (0.0200)" in text
    assert "20 % above that of the control (0.0250)" in text
    assert "25 times less time" in text


def test_a_student_far_from_the_stack_is_advised_a_longer_training():
    def found(against_the_stack: float) -> list[ModelErrors]:
        of_student = {"test": {"rmse_per_frame": 0.03}, "made": {"rmse_per_frame": against_the_stack}}
        return [errors("stack", "stack (x)", 0.02), ModelErrors("student", "student", of_student)]

    assert advice(found(0.01)) == []
    (text,) = advice(found(0.025))
    assert "0.0250 eV/Å against the stack" in text
    assert "train it for longer" in text
