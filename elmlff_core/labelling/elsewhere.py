"""Labels by a program on another machine: its input files are written here, and what it computed is read back."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.data.readers import read_structures
from elmlff_core.data.writers import write_structures
from elmlff_core.errors import ConfigError, DataError
from elmlff_core.labelling import cp2k
from elmlff_core.labelling.calculators import make_calculator
from elmlff_core.labelling.frames import Labels, unlabelled
from elmlff_core.labelling.labelling import Labelling
from elmlff_core.labelling.settings import LabelSettings

FRAME_FILE = "frame.extxyz"
PREFIX = "frame-"
# Results of programs, the most complete first, and the name of the format in ASE.
RESULTS = (("vasprun.xml", "vasp-xml"), ("OUTCAR", "vasp-out"), ("*.pwo", "espresso-out"), ("*.out", "espresso-out"))
MOVED = 1e-3  # Å, by which the rounding of an input or output file moves an atom at most
NOT_CONVERGED = "the electronic structure has not converged"


def write_inputs(structures: Sequence[Atoms], settings: LabelSettings, folder: Path, reporter: Reporter) -> None:
    """Write the input files of a calculator, a folder for each structure; nothing is computed.

    Raises
    ------
    ConfigError
        `folder` has something in it; the calculator cannot be made, writes no input files, or cannot write those of a
        structure.
    """
    calculator = make_calculator(settings)
    write = next(
        (getattr(calculator, name) for name in ("write_inputfiles", "write_input") if hasattr(calculator, name)), None
    )
    if write is None:
        raise ConfigError(
            f"{settings.calculator} writes no input files: it computes by itself, or speaks with its program directly, "
            "as ASE's CP2K does; for CP2K take elmlff_core.labelling.cp2k:CP2K, or leave --write-inputs out, and run "
            "elmlff where the program is"
        )
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: name another folder for --write-inputs")
    with reporter.progress("writing inputs") as progress:
        for index, atoms in enumerate(structures):
            frame = unlabelled(atoms)
            place = folder / f"{PREFIX}{index:06d}"
            place.mkdir(parents=True)
            write_structures([frame], place / FRAME_FILE)
            _write_one(write, calculator, frame, place)
            if index == 0:
                _check_forces(place, folder)
            progress(Progress(index + 1, len(structures)))


def _write_one(write: Any, calculator: Any, frame: Atoms, place: Path) -> None:
    calculator.directory = place
    try:
        write(frame, ("energy", "forces", "stress") if frame.pbc.all() else ("energy", "forces"))
    except Exception as error:  # each calculator raises its own
        raise ConfigError(
            f"{type(calculator).__name__} cannot write the input files of {place.name}: {type(error).__name__}: {error}"
        ) from error


def _check_forces(place: Path, folder: Path) -> None:
    """Refuse inputs of Quantum ESPRESSO that ask for no forces; ASE does not ask for them by itself."""
    for path in place.glob("*.pwi"):
        if "tprnfor" not in path.read_text(encoding="utf-8").lower():
            shutil.rmtree(folder)
            raise ConfigError(
                "Quantum ESPRESSO would print no forces: add tprnfor=True, and tstress=True for stresses, to the "
                "section 'control' of input_data"
            )


def read_results(folder: Path, reporter: Reporter) -> Labelling:
    """Read what a program has computed in the folders that `write_inputs` wrote.

    Raises
    ------
    ConfigError
        `folder` has no such folders.
    DataError
        The structure in one of them cannot be read.
    """
    places = sorted(path.parent for path in folder.glob(f"{PREFIX}*/{FRAME_FILE}"))
    if not places:
        raise ConfigError(f"{folder} holds no folders {PREFIX}* with {FRAME_FILE}: name what --write-inputs wrote")
    frames, labels, reasons = [], {}, {}
    with reporter.progress("reading results") as progress:
        for index, place in enumerate(places):
            frames.append(read_structures(place / FRAME_FILE)[0])
            try:
                labels[index] = _result(place, frames[-1])
            except Exception as error:  # of ASE's readers, on a file that ends in the middle for example
                reasons[index] = f"{place.name}: {error if isinstance(error, DataError) else _said(error)}"
            progress(Progress(index + 1, len(places)))
    return Labelling.of(frames, labels, reasons)


def _said(error: Exception) -> str:
    return " ".join(f"the result cannot be read: {type(error).__name__}: {error}".split())[:500]


def _result(place: Path, frame: Atoms) -> Labels:
    """Return the labels in the folder of one structure; DataError says why there are none."""
    results = [(path, name) for pattern, name in RESULTS for path in sorted(place.glob(pattern))]
    if not results:
        raise DataError(f"there is no result, which is {', '.join(pattern for pattern, _ in RESULTS)}")
    path, format_name = results[0]
    if cp2k.is_output(path):
        return cp2k.labels_in(path, frame)
    if not _has_converged(path, format_name):
        raise DataError(f"{NOT_CONVERGED}, by {path.name}")
    for image in ase.io.read(path, index=":", format=format_name):
        if (order := same_atoms(frame, image)) is None:
            continue
        found = {} if image.calc is None else image.calc.results
        if "energy" not in found or "forces" not in found:
            raise DataError(f"{path.name} has no energy, or no forces")
        forces = np.asarray(found["forces"], np.float64)[order]
        has_stress = found.get("stress") is not None and frame.pbc.all()
        stress = np.asarray(found["stress"], np.float64) if has_stress else None
        return Labels(float(found["energy"]), forces, stress).checked(len(frame))
    raise DataError(f"{path.name} is of another structure than {FRAME_FILE}")


def _has_converged(path: Path, format_name: str) -> bool:
    """Return whether the electronic structure has converged; ASE reads results that have not without a word."""
    if format_name == "vasp-xml":
        root = ElementTree.parse(path).getroot()
        most = next((item.text for item in root.iter("i") if item.get("name") == "NELM"), None)
        return most is None or all(len(step.findall("scstep")) < int(most) for step in root.iter("calculation"))
    text = path.read_text(errors="replace")
    if format_name == "vasp-out":
        return "aborting loop because EDIFF is reached" in text
    return "convergence NOT achieved" not in text


def same_atoms(frame: Atoms, image: Atoms) -> np.ndarray | None:
    """Return for each atom of `frame` the index of the same atom in `image`: (n_atoms,) int; None if they differ.

    Programs may sort the atoms, and move them by lattice vectors.
    """
    if sorted(frame.numbers) != sorted(image.numbers):
        return None
    periodic = frame.pbc.any()
    if periodic and np.abs(frame.cell.array - image.cell.array)[frame.pbc].max() > MOVED:
        return None
    order = np.full(len(frame), -1)
    for number in np.unique(frame.numbers):
        own, others = np.flatnonzero(frame.numbers == number), np.flatnonzero(image.numbers == number)
        moved = (frame.positions[own][:, None] - image.positions[others]).reshape(-1, 3)
        distances = find_mic(moved, frame.cell, frame.pbc)[1] if periodic else np.linalg.norm(moved, axis=1)
        distances = distances.reshape(len(own), len(others))
        nearest = distances.argmin(axis=1)
        if distances.min(axis=1).max() > MOVED or len(set(nearest.tolist())) < len(own):
            return None
        order[own] = others[nearest]
    return order
