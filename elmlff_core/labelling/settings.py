"""Settings of a labelling, which its folder keeps as ``config.toml``."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class LabelSettings(BaseModel):
    """The calculator.

    Attributes
    ----------
    calculator : ``module:callable``, which returns a calculator of ASE
    options : its keyword arguments
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    calculator: str
    options: dict[str, Any] = Field(default_factory=dict)
