"""Restart points of a simulation: all that its next steps depend on, bit for bit, and the lengths of its files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from elmlff_core.errors import ElmlffError
from elmlff_core.files import replacing

RESTART_FILE = "restart.npz"


@dataclass(frozen=True)
class RestartPoint:
    """The state after a step.

    Attributes
    ----------
    step : number of steps made
    random : state of the random numbers
    carried : numbers that the integrator carries to its next step
    lengths : length of each output file after this step, by its name
    stopped : why the simulation has ended before its last step; empty if it has not
    """

    step: int
    random: dict[str, Any]
    carried: dict[str, float]
    lengths: dict[str, int]
    stopped: str = ""

    def save(self, folder: Path, atoms: Atoms) -> None:
        """Write the point, with positions, momenta and cell of `atoms`."""
        arrays = {"positions": atoms.positions, "momenta": atoms.get_momenta(), "cell": atoms.cell.array}
        with replacing(folder / RESTART_FILE) as partial:
            np.savez(partial, record=json.dumps(asdict(self)), **arrays)


def load_restart_point(folder: Path, atoms: Atoms) -> RestartPoint | None:
    """Read the point of `folder` and move `atoms` there; None if there is none.

    ElmlffError if the file is damaged.
    """
    path = folder / RESTART_FILE
    if not path.exists():
        return None
    try:
        with np.load(path) as found:
            point = RestartPoint(**json.loads(str(found["record"])))
            positions, momenta, cell = found["positions"], found["momenta"], found["cell"]
        atoms.set_cell(cell)
        atoms.positions[:] = positions
        atoms.set_momenta(momenta, apply_constraint=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ElmlffError(f"{path} is damaged: remove the folder {folder}, and the simulation starts anew") from error
    return point
