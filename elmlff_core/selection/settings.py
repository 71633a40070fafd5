"""Settings of a selection, which its folder keeps as ``config.toml``."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SelectionSettings(BaseModel):
    """What is chosen from which structures.

    Attributes
    ----------
    number : most structures that are chosen
    low, high : eV/Å, the window of expected errors; None takes a default from the calibration of the stack
    descriptors : ``soap``, ``surroundings``, or the name of a base model that has descriptors
    smallest_distance : descriptors of atoms that are nearer to each other count as the same; None takes a default from
        the labelled structures
    closest : smallest distance of two atoms, in units of the sum of their covalent radii
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(50, ge=1)
    low: float | None = Field(None, ge=0)
    high: float | None = Field(None, gt=0)
    descriptors: str = "soap"
    smallest_distance: float | None = Field(None, ge=0)
    closest: float = Field(0.6, ge=0)

    @model_validator(mode="after")
    def _window_is_open(self) -> Self:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self
