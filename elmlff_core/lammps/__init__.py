"""A stack as the force field of LAMMPS: `couple` for a running LAMMPS, `run_input` for an input file.

Import this room before you make an instance of LAMMPS: it makes the MPI library findable that comes from PyPI's
``mpich``.

>>> from elmlff_core import lammps
>>> sorted(lammps.__all__)
['Coupling', 'couple', 'run_input', 'start_lammps']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from elmlff_core.lammps.library import make_mpi_findable, start_lammps

if TYPE_CHECKING:
    from elmlff_core.lammps.coupling import Coupling, couple
    from elmlff_core.lammps.running import run_input

__all__ = ["Coupling", "couple", "run_input", "start_lammps"]

_MODULES = {
    "Coupling": "elmlff_core.lammps.coupling",
    "couple": "elmlff_core.lammps.coupling",
    "run_input": "elmlff_core.lammps.running",
}

make_mpi_findable()


def __getattr__(name: str) -> Any:
    # Imported on first use: these modules import torch.
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'elmlff_core.lammps' has no attribute '{name}'")
