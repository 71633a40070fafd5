"""The virtual environments that ``elmlff env create`` made, and the interpreters in them.

Settings and stacks name such an environment by ``python = "env:NAME"``, so that they hold no path of one machine.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import platformdirs
from packaging.requirements import Requirement

from elmlff_core.errors import ElmlffError, ForceFieldError
from elmlff_core.files import read_record
from elmlff_core.plugins.registry import registry
from elmlff_core.plugins.requirements import installed_version

PREFIX = "env:"
SELF = "self"  # the interpreter of elmlff itself
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")  # a name leads to no other folder
RECORD = "elmlff-environment.json"


class EnvironmentRecord(TypedDict):
    """What the folder of an environment says of it; the file is written last, so an unfinished one has none."""

    name: str
    requirements: list[str]
    python: str
    installer: str
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Environment:
    """A virtual environment that is complete.

    Attributes
    ----------
    name : its name, that of its recipe
    folder : its folder
    record : what was installed, by what, in which time and space
    """

    name: str
    folder: Path
    record: EnvironmentRecord

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return interpreter_in(self.folder)


def environments_folder() -> Path:
    """Return ``$ELMLFF_ENVIRONMENTS``, or ``environments`` in the user's data folder."""
    given = os.environ.get("ELMLFF_ENVIRONMENTS")
    return Path(given).expanduser() if given else Path(platformdirs.user_data_dir("elmlff")) / "environments"


def interpreter_in(folder: Path) -> Path:
    """Return the path of the interpreter of the virtual environment in `folder`."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def find(name: str) -> Environment | None:
    """Return the environment `name`, or None if it is not there, or its creation was interrupted."""
    if not NAME.fullmatch(name):
        return None
    folder = environments_folder() / name
    try:
        record = read_record(folder / RECORD, EnvironmentRecord, f"run `elmlff env remove {name}`")
    except ElmlffError:
        return None
    return Environment(name, folder, record) if interpreter_in(folder).exists() else None


def installed() -> list[Environment]:
    """Return all complete environments, by name."""
    folder = environments_folder()
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [found for name in names if (found := find(name)) is not None]


def environment_named(python: str | None) -> str | None:
    """Return NAME of the setting ``python = "env:NAME"``, or None of any other."""
    return python.removeprefix(PREFIX) if python is not None and python.startswith(PREFIX) else None


def interpreter_of(python: str, model: str) -> str:
    """Return the interpreter that the setting `python` of `model` means.

    Of an environment it is the interpreter there, or `SELF` if the environment was not made and its packages are
    installed here: then, as for any model that runs here, a package that has nothing to do with it may be installed
    without making its cached features invalid.  Any other setting is returned as it is.

    Raises
    ------
    ForceFieldError
        The environment is not there; the message has the command that makes it.
    """
    name = environment_named(python)
    if name is None:
        return python
    if (found := find(name)) is not None:
        return str(found.python)
    if is_met_here(name):
        return SELF
    raise ForceFieldError(
        f"model '{model}' runs in the environment '{name}', which is not here: make it with "
        f"`elmlff env create {name}`, or say --create-environments"
    )


def is_ready(name: str) -> bool:
    """Return whether base models of the environment `name` can run: it was made, or its packages are installed here."""
    return find(name) is not None or is_met_here(name)


def is_met_here(name: str) -> bool:
    """Return whether the packages of the environment `name` are installed in that of this process."""
    if name not in registry().environments:
        return False
    for text in registry().environment(name).requirements:
        requirement = Requirement(text)
        version = installed_version(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            return False
    return True
