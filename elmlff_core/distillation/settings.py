"""Settings of a distillation, which its folder keeps as ``config.toml``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elmlff_core.errors import ConfigError
from elmlff_core.settings.config import N_SEEDS

Size = Annotated[float, Field(gt=0)]
FEWEST_MADE, MOST_MADE, MADE_PER_LABEL = 200, 2000, 10  # of the number that is taken if the user gives none


class DistillationSettings(BaseModel):
    """Which structures are made, and which of them are kept.

    Attributes
    ----------
    made : number of structures that are made; None takes ten for each training structure, from 200 to 2,000
    rattles : Å, sizes of random displacements: standard deviations of each coordinate
    strains : sizes of random strains of periodic cells: standard deviations of each component
    temperatures : K, of molecular dynamics with the stack, which makes half of the structures; none if empty
    starts : simulations at each temperature, each from another training structure
    timestep : fs
    spacing : steps between two frames of a simulation; frames that are still correlated are thinned further
    driver : base model that moves the atoms in these simulations; None is the stack itself
    smallest_distance : Å, between any two atoms; None takes nine tenths of the smallest one between the same elements
        in the training structures
    largest_force : eV/Å, on an atom; None takes one and a half times the largest one in the training structures
    largest_error : eV/Å, calibrated standard deviation of force components on an atom; None takes twenty times the
        usual one of the stack
    weights : whether made structures count the less the less sure the stack is of them, if the trainer takes weights
    control : whether a student is trained on the reference labels alone, for comparison
    seed : of structures, of the choice of validation structures, and of trainings
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    made: int | None = Field(None, ge=0)
    rattles: tuple[Size, ...] = (0.02, 0.05, 0.1)
    strains: tuple[Size, ...] = (0.01, 0.03)
    temperatures: tuple[Size, ...] = (300.0, 600.0)
    starts: int = Field(2, ge=1)
    timestep: float = Field(1.0, gt=0)
    spacing: int = Field(20, ge=1)
    driver: str | None = None
    smallest_distance: float | None = Field(None, ge=0)
    largest_force: float | None = Field(None, gt=0)
    largest_error: float | None = Field(None, gt=0)
    weights: bool = True
    control: bool = True
    seed: int = Field(0, ge=0, lt=N_SEEDS)

    def n_made(self, n_train: int) -> int:
        """Return the number of structures that are made for `n_train` training structures."""
        if self.made is not None:
            return self.made
        return min(max(MADE_PER_LABEL * n_train, FEWEST_MADE), MOST_MADE)


def distillation_settings(values: dict[str, Any]) -> DistillationSettings:
    """Return the settings from `values`, where None stands for the default; ConfigError names what is wrong."""
    given = {key: value for key, value in values.items() if value is not None}
    try:
        return DistillationSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-") if first["loc"] else "settings"
        raise ConfigError(f"--{name}: {first['msg']}, found {first['input']!r}") from error
