"""ASE's integrators for each ensemble, and the numbers that an exact restart needs beside positions and momenta."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet

from elmlff_core.simulation.settings import DynamicsSettings

# What integrators carry from one step to the next: the momentum of the barostat, and the force on it.
CARRIED = ("p_eps", "force_eps", "transferred_energy")


def start_velocities(atoms: Atoms, settings: DynamicsSettings, rng: np.random.Generator) -> bool:
    """Draw velocities of `settings.temperature` for a structure without; return whether they were drawn."""
    if atoms.get_momenta().any() or not settings.temperature:
        return False
    thermalize_momenta(atoms, temperature_K=settings.temperature, rng=rng)
    Stationary(atoms)
    return True


def make_integrator(atoms: Atoms, settings: DynamicsSettings, rng: np.random.Generator) -> MolecularDynamics:
    """Return the integrator of `settings`, which moves `atoms` by their calculator.

    `rng` gives the random numbers of thermostat and barostat.
    """
    timestep, time = settings.timestep * units.fs, settings.thermostat_time * units.fs
    if settings.ensemble == "nve":
        return VelocityVerlet(atoms, timestep)
    if settings.ensemble == "nvt-langevin":
        return Langevin(atoms, timestep, temperature_K=settings.temperature, friction=1 / time, fixcm=False, rng=rng)
    if settings.ensemble == "nvt-bussi":
        return Bussi(atoms, timestep, temperature_K=settings.temperature, taut=time, rng=rng)
    with warnings.catch_warnings():  # it tells which mass of the barostat it takes
        warnings.simplefilter("ignore")
        return LangevinBAOAB(
            atoms, timestep, temperature_K=settings.temperature, externalstress=-settings.pressure * units.GPa,
            hydrostatic=True, T_tau=time, P_tau=settings.barostat_time * units.fs, rng=rng,
        )  # fmt: skip


def set_temperature(integrator: MolecularDynamics, temperature: float) -> None:
    """Set the temperature of the thermostat, K."""
    if isinstance(integrator, Bussi):
        integrator.temp = temperature * units.kB
        integrator.target_kinetic_energy = 0.5 * integrator.temp * integrator.ndof
    elif isinstance(integrator, Langevin):
        integrator.set_temperature(temperature_K=temperature)
    elif isinstance(integrator, LangevinBAOAB):
        integrator.set_temperature(temperature)


def carried(integrator: MolecularDynamics) -> dict[str, float]:
    """Return the numbers that the integrator carries to its next step."""
    return {name: float(getattr(integrator, name)) for name in CARRIED if hasattr(integrator, name)}


def carry(integrator: MolecularDynamics, numbers: dict[str, Any]) -> None:
    """Give an integrator the numbers of `carried`."""
    for name, value in numbers.items():
        setattr(integrator, name, value)
