"""Calculators of ASE, made by a callable that the user names on the command line."""

from __future__ import annotations

import importlib
import os
import sys
from functools import reduce
from typing import Any

from elmlff_core.errors import ConfigError, did_you_mean
from elmlff_core.labelling.settings import LabelSettings


def make_calculator(settings: LabelSettings) -> Any:
    """Return a new calculator; modules are also searched for in the current folder.

    Raises
    ------
    ConfigError
        There is no such module or callable, it fails, or it returns something else.
    """
    name = settings.calculator
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise ConfigError(f"--calculator takes module:callable, such as tblite.ase:TBLite, found '{name}'")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # last: a file there must not stand in for a package
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"cannot load calculator '{name}': {error}") from error
    except Exception as error:  # a module of the user may raise any
        raise ConfigError(f"calculator '{name}' fails at import: {type(error).__name__}: {error}") from error
    try:
        made = reduce(getattr, path.split("."), module)
    except AttributeError as error:
        public = [known for known in dir(module) if not known.startswith("_")]
        raise ConfigError(f"{module_name} has no '{path}'{did_you_mean(path, public)}") from error
    if not callable(made):
        raise ConfigError(f"'{name}' is no class and no function: name what returns a calculator")
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
