"""Write structures to an extxyz file that ASE reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import ase.io
from ase import Atoms

from elmlff_core.files import replacing


def write_structures(structures: Iterable[Atoms], path: Path) -> None:
    """Write structures with what their arrays, ``info`` and calculators hold.

    Raises
    ------
    ElmlffError
        `path` cannot be written; what was there before is still there.
    """
    with replacing(path) as partial:
        ase.io.write(partial, list(structures), format="extxyz")
