"""Options of an ASE calculator."""

from __future__ import annotations

from typing import Any

from ase.data import atomic_numbers
from pydantic import Field, field_validator

from elmlff_core.contracts.hookspecs import Options


class ASEOptions(Options):
    """The calculator, as in ``calculator = "tblite.ase:TBLite"``, and its keyword arguments.

    If the model has a checkpoint, it is passed as the keyword argument named by `checkpoint_argument`.  `elements`
    lists the chemical symbols that the calculator knows; without it, no element is refused.
    """

    calculator: str = Field(pattern=r"^[\w.]+:[\w.]+$")
    arguments: dict[str, Any] = Field(default_factory=dict)
    elements: list[str] | None = None
    checkpoint_argument: str | None = None

    @field_validator("elements")
    @classmethod
    def _are_symbols(cls, symbols: list[str] | None) -> list[str] | None:
        for symbol in symbols or []:
            if symbol not in atomic_numbers:
                raise ValueError(f"'{symbol}' is not a chemical symbol")
        return symbols
