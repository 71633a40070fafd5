"""Calculators of ASE, made by a callable that the user names on the command line."""

from __future__ import annotations

from typing import Any

from elmlff_core.errors import ConfigError
from elmlff_core.labelling.settings import LabelSettings
from elmlff_core.plugins.callables import named_callable


def make_calculator(settings: LabelSettings) -> Any:
    """Return a new calculator; modules are also searched for in the current folder.

    Raises
    ------
    ConfigError
        There is no such module or callable, it fails, or it returns something else.
    """
    name = settings.calculator
    made = named_callable(name, "calculator")
    try:
        calculator = made(**settings.options)
    except Exception as error:
        raise ConfigError(f"calculator '{name}' cannot be made: {type(error).__name__}: {error}") from error
    if not callable(getattr(calculator, "get_property", None)):
        raise ConfigError(f"'{name}' returned {type(calculator).__name__}, which is no calculator of ASE")
    return calculator


def runs_a_program(calculator: Any) -> bool:
    """Return whether a calculator writes input files for a program."""
    return any(callable(getattr(calculator, name, None)) for name in ("write_inputfiles", "write_input"))
