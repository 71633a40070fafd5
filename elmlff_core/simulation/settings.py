"""Settings of a simulation, which its folder keeps as ``config.toml``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Ensemble = Literal["nve", "nvt-langevin", "nvt-bussi", "npt"]


class DynamicsSettings(BaseModel):
    """How atoms move, and what is written.

    Attributes
    ----------
    ensemble : ``nve``, ``nvt-langevin``, ``nvt-bussi`` (stochastic velocity rescaling), or ``npt`` (Langevin thermostat
        and barostat; the cell keeps its shape)
    temperature : K, of the thermostat, and of the first velocities if the structure has none
    final_temperature : K, reached linearly at the last step; None keeps `temperature`
    pressure : GPa, for ``npt``
    timestep : fs
    steps : number of steps
    thermostat_time : fs, time in which the thermostat acts
    barostat_time : fs
    seed : of velocities and of thermostats
    write_every : steps between frames, rows of the log and restart points
    observe_every : steps between lines of ``model_devi.out``, and between looks of the stack if a base model drives
    committee : whether frames have what each base model predicts
    driver : name of the base model that moves the atoms, or the folder of a student; None is the stack itself
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ensemble: Ensemble = "nvt-langevin"
    temperature: float = Field(300.0, ge=0)
    final_temperature: float | None = Field(None, ge=0)
    pressure: float = 0.0
    timestep: float = Field(1.0, gt=0)
    steps: int = Field(1000, ge=0)
    thermostat_time: float = Field(100.0, gt=0)
    barostat_time: float = Field(1000.0, gt=0)
    seed: int = Field(0, ge=0)
    write_every: int = Field(10, ge=1)
    observe_every: int = Field(10, ge=1)
    committee: bool = False
    driver: str | None = None

    @model_validator(mode="after")
    def _ramps_need_a_thermostat(self) -> Self:
        if self.final_temperature is not None and self.ensemble == "nve":
            raise ValueError("a final temperature needs a thermostat: choose another ensemble than nve")
        return self

    def temperature_at(self, step: int) -> float:
        """Return the temperature of the thermostat in `step`, K."""
        if self.final_temperature is None or not self.steps:
            return self.temperature
        return self.temperature + (self.final_temperature - self.temperature) * min(1.0, step / self.steps)
