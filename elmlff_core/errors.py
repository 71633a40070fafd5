"""The errors elmlff raises: one base class, few children.

A message says what failed, where (model, file, structure, atom), what was found against what was expected, and what to
do next.  The command line prints it in one line and exits with 1; ``--debug`` shows the traceback.
"""

import difflib
from collections.abc import Iterable


class ElmlffError(Exception):
    """Anything a user can mend."""


class DataError(ElmlffError):
    """Structures or labels that cannot be used."""


class ConfigError(ElmlffError):
    """A setting that is unknown, missing or contradicts another."""


class PluginError(ElmlffError):
    """An adapter or meta-model that is unknown, broken or not installed."""


class ForceFieldError(ElmlffError):
    """A base force field that could not be loaded, trained or evaluated."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the nearest of `known`, else the list of what is known."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known) or 'none'}"
