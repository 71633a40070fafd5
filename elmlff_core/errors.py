"""The errors that elmlff raises: one base class and a few subclasses.

A message gives what failed, where (model, file, structure, atom), what was found, what was expected, and what to do
next.  The command line prints the message and exits with code 1; ``--debug`` shows the traceback.

Workers under other interpreters import this file, so it keeps to Python 3.9.
"""

import difflib
from collections.abc import Iterable


class ElmlffError(Exception):
    """Base class of all errors that a user can fix."""


class DataError(ElmlffError):
    """Structures or labels that cannot be used."""


class ConfigError(ElmlffError):
    """A setting that is unknown or missing, or that contradicts another setting."""


class PluginError(ElmlffError):
    """An adapter or meta-model that is unknown, broken or not installed."""


class ForceFieldError(ElmlffError):
    """A base force field that could not be loaded, trained or evaluated."""


def first_line(error: BaseException, otherwise: str = "no reason given") -> str:
    """Return the first line of the message of `error`; `otherwise` if it has none."""
    return next(iter(str(error).strip().splitlines()), otherwise)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message: ``; did you mean 'x'?`` with the most similar known name, or all known names."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known) or 'none'}"
