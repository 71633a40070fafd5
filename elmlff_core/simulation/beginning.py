"""The beginning of a simulation: settings and structure as the user gave them, checked, and what it depends on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ase import Atoms

from elmlff_core.data.readers import read_structures
from elmlff_core.files import json_text, sha256_of
from elmlff_core.settings.reading import from_options
from elmlff_core.simulation.drivers import is_folder
from elmlff_core.simulation.settings import DynamicsSettings
from elmlff_core.stack.stack import STACK_FILE


def checked_settings(values: dict[str, Any]) -> DynamicsSettings:
    """Return the settings from `values`; ConfigError names what is wrong."""
    return from_options(DynamicsSettings, values)


def start_structure(source: str) -> Atoms:
    """Return the last structure of a file, with its velocities; DataError as for `elmlff predict`."""
    return read_structures(source)[-1]


def key_of(stack: Path, atoms: Atoms, settings: DynamicsSettings) -> str:
    """Return the digest of all that a simulation depends on.

    The number of steps is not part of it, so that a simulation can be made longer, unless a ramp depends on it.
    """
    given = settings.model_dump(exclude=set() if settings.final_temperature is not None else {"steps"})
    arrays = [atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, atoms.get_momenta()]
    digest = hashlib.sha256(json_text(given).encode() + sha256_of(stack.expanduser() / STACK_FILE).encode())
    if settings.driver is not None and is_folder(settings.driver):  # the path alone would not say which student it is
        digest.update(sha256_of(Path(settings.driver).expanduser() / STACK_FILE).encode())
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()
