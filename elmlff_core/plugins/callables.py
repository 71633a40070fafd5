"""Functions and classes that the user names as ``module:callable``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from functools import reduce
from typing import Any

from elmlff_core.errors import ConfigError, did_you_mean


def named_callable(name: str, what: str) -> Callable[..., Any]:
    """Return what `name` stands for; modules are also searched for in the current folder.

    Parameters
    ----------
    name : ``module:callable``, where the second part may have dots
    what : what it is meant to be, for messages: calculator

    Raises
    ------
    ConfigError
        The name has another form, its module cannot be imported, or has no such callable.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise ConfigError(f"'{name}' names no {what}: write module:callable")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # last: a file there must not stand in for a package
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"cannot load {what} '{name}': {error}") from error
    except Exception as error:  # a module of the user may raise any
        raise ConfigError(f"{what} '{name}' fails at import: {type(error).__name__}: {error}") from error
    try:
        found = reduce(getattr, path.split("."), module)
    except AttributeError as error:
        public = [known for known in dir(module) if not known.startswith("_")]
        raise ConfigError(
            f"cannot load {what} '{name}': {module_name} has no '{path}'{did_you_mean(path, public)}"
        ) from error
    if not callable(found):
        raise ConfigError(f"{what} '{name}' is no class and no function")
    return found
