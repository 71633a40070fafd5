"""Read labelled structures from files that ASE reads, deepmd/npy folders, and embedded or published datasets."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.stress import full_3x3_to_voigt_6_stress

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.structures import check_geometry
from elmlff_core.data.labels import GrowingDataset, LabelKeys, dataset_from_structures
from elmlff_core.data.mlearn import read_mlearn
from elmlff_core.data.published.catalogue import load_catalogue
from elmlff_core.data.published.local_copy import split_content
from elmlff_core.errors import DataError, did_you_mean, first_line

EMBEDDED = {"methane": "methane.extxyz"}


def read_dataset(source: str | Path, keys: LabelKeys | None = None) -> Dataset:
    """Read labelled structures.

    Parameters
    ----------
    source : name of an embedded example, a file that ASE reads, a deepmd/npy folder (one system or a tree of them), or
        name of a published dataset that `elmlff data get` has fetched: ``NAME`` is its training split, ``NAME/test``
        its test split.  A file or folder of that name takes precedence.
    keys : names of the labels, if they are not the usual ones

    Raises
    ------
    DataError
        The source does not exist, cannot be read, or fails the checks of `dataset_from_structures`; a published
        dataset has not been fetched, or its files differ from the published ones.
    """
    if str(source) in EMBEDDED and not Path(source).exists():
        resource = files("elmlff_core") / "data" / "embedded" / EMBEDDED[str(source)]
        with as_file(resource) as path:
            return dataset_from_structures(_read_with_ase(path), f"embedded:{source}", keys)
    path = Path(source).expanduser()
    if not path.exists():
        return _read_published(str(source), keys)
    if path.is_dir():
        return read_deepmd(path)
    return dataset_from_structures(_read_with_ase(path), str(source), keys)


def read_structures(source: str | Path) -> list[Atoms]:
    """Read structures for `elmlff predict`; labels are not required.  Raises DataError as `read_dataset` does."""
    structures = list(read_frames(source))
    check_geometry(structures, source=str(source))
    return structures


def read_frames(source: str | Path) -> Iterator[Atoms]:
    """Yield the structures of a trajectory as they are, also those of a simulation that has exploded.

    `source` is as in `read_dataset`, and labels are not required.  Raises DataError as there, except for what
    `check_geometry` finds.
    """
    path = Path(source).expanduser()
    if path.is_file():
        yield from _read_with_ase(path)
    elif path.is_dir():
        for system in _deepmd_systems(path):
            yield from _read_deepmd_structures(system)
    else:
        yield from read_dataset(source).structures


def _read_published(source: str, keys: LabelKeys | None) -> Dataset:
    """Read one split of a published dataset by its name; raise DataError if nothing has that name."""
    catalogue = load_catalogue()
    name, _, split = source.partition("/")
    dataset = catalogue.find(name)
    if dataset is None or name in EMBEDDED:  # 'methane/test' would look like a split of the embedded 'methane'
        known = [*EMBEDDED, *catalogue.names]
        hint = did_you_mean(name, known) if name and Path(source).parent.name in ("", name) else ""
        hint = f"; did you mean '{dataset.name}/{split}'?" if dataset else hint
        raise DataError(f"no file, folder, embedded example or published dataset is called '{source}'{hint}")
    split = split or next(iter(dataset.parts))
    if split not in dataset.parts:
        raise DataError(f"'{dataset.name}' has no split '{split}'{did_you_mean(split, dataset.parts)}")
    path, title = split_content(dataset, split)
    match dataset.parts[split].format:
        case "deepmd/npy":
            return replace(read_deepmd(path), source=title)
        case "extxyz":
            return dataset_from_structures(_read_with_ase(path), title, keys)
        case "mlearn-json":  # not its extxyz copy, whose numbers are rounded, and whose content no hash pins
            return dataset_from_structures(read_mlearn(path), title)


class _EndingText(io.TextIOWrapper):
    """Text whose end is an error for a reader that goes on reading lines there.

    The extxyz reader of ASE skips as many lines as a structure says that it has atoms, without a look at the end of the
    file: a damaged number of atoms would keep it busy for hours.
    """

    n_beyond = 0

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # the stubs of io disagree with each other
        line = super().readline(size)
        self.n_beyond = 0 if line else self.n_beyond + 1
        if self.n_beyond > LINES_BEYOND_THE_END:
            raise EOFError("it ends within a structure, whose number of atoms is too large or whose lines are missing")
        return line


def _opened(path: Path) -> Iterator[Atoms]:
    if path.suffix not in (".xyz", ".extxyz"):
        yield from ase.io.iread(path, index=":")
        return
    with _EndingText(path.open("rb"), encoding="utf-8") as file:
        yield from ase.io.iread(file, index=":", format="extxyz")


def _read_with_ase(path: Path) -> Iterator[Atoms]:
    """Yield one structure after another; raise DataError if there are none, or the file cannot be read to its end."""
    structures = _opened(path)
    n_read = 0
    while True:
        try:
            atoms = next(structures)
        except StopIteration:
            break
        except Exception as error:  # each format of ASE raises its own exceptions
            reason = first_line(error, "it may be empty or truncated")
            raise DataError(f"cannot read {path}: {type(error).__name__}: {reason}") from error
        n_read += 1
        yield atoms
    if not n_read:
        raise DataError(f"{path} holds no structures")


LINES_BEYOND_THE_END = 1000
NUMBERS = ("energies", "forces", "coords", "cells", "virials")  # arrays of dpdata, of any precision


def read_deepmd(path: Path) -> Dataset:
    """Read a deepmd/npy folder: a system (``type.raw`` beside ``set.*``) or a tree of systems, in sorted order.

    Raises
    ------
    DataError
        There is no system below `path`; a system has no force labels; an array cannot be read or has a wrong shape.
    """
    growing = GrowingDataset(str(path))
    for system in _deepmd_systems(path):
        for frame in _read_deepmd_system(system):
            growing.append(*frame)
    return growing.whole()


def _deepmd_systems(path: Path) -> list[Path]:
    systems = sorted(found.parent for found in path.rglob("type.raw"))
    if not systems:
        raise DataError(f"{path} is not a deepmd/npy folder: no type.raw in it or below it")
    return systems


def _read_deepmd_system(path: Path) -> Iterator[tuple[Atoms, np.ndarray, float, np.ndarray | None]]:
    """Yield the structure, forces, energy and stress of each frame."""
    data = _deepmd_data(path, "LabeledSystem")
    if "forces" not in data:
        raise DataError(f"the deepmd/npy system {path} has no force labels: there is no force.npy in its sets")
    structures = _deepmd_structures(data, path)
    energies, forces = data["energies"], data["forces"]
    stress: np.ndarray | list[None] = [None] * len(energies)
    if not data.get("nopbc", False) and "virials" in data:  # the stress is minus the virial divided by the volume
        volume = np.abs(np.linalg.det(data["cells"]))[:, None, None]
        stress = full_3x3_to_voigt_6_stress(-data["virials"] / volume)
    yield from zip(structures, forces, energies, stress, strict=True)


def _read_deepmd_structures(path: Path) -> Iterator[Atoms]:
    """Yield the structures of a system, which needs no labels."""
    yield from _deepmd_structures(_deepmd_data(path, "System"), path)


def _deepmd_data(path: Path, kind: str) -> dict[str, Any]:
    """Read a system as one of two classes of dpdata."""
    import dpdata  # takes 0.5 s, and only this format needs it

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # dpdata prints messages
            logging.getLogger("dpdata").setLevel(logging.ERROR)
            system = getattr(dpdata, kind)(str(path), fmt="deepmd/npy")
    except Exception as error:  # NumPy, dpdata and the file system each raise their own exceptions
        raise DataError(
            f"cannot read the deepmd/npy system {path}: {error or 'an array is missing'}; expected arrays with one row "
            "per frame, at least one, and one number in type.raw per atom"
        ) from error
    data = dict(system.data)
    for name in NUMBERS:
        if name in data and np.asarray(data[name]).dtype.kind not in "iuf":
            raise DataError(f"the deepmd/npy system {path} has {name} of type {data[name].dtype}, expected numbers")
    return {name: np.asarray(value, np.float64) if name in NUMBERS else value for name, value in data.items()}


def _deepmd_structures(data: dict[str, Any], path: Path) -> Iterator[Atoms]:
    """Check the elements and shapes of a system, and yield its structures."""
    symbols = [data["atom_names"][kind] for kind in data["atom_types"]]
    if any(name.startswith("Type_") for name in symbols):
        raise DataError(
            f"{path} has no type_map.raw, so that its elements are unknown: write one chemical symbol per line into it"
        )
    if unknown := sorted(set(symbols) - set(atomic_numbers)):
        raise DataError(f"type_map.raw of {path} has '{unknown[0]}', which is not a chemical symbol")
    periodic = not data.get("nopbc", False)
    n_frames = len(data.get("energies", data["coords"]))
    cells = (n_frames, 3, 3)
    for name, shape in {"coords": (n_frames, len(symbols), 3), "cells": cells, "virials": cells}.items():
        if name in data and data[name].shape != shape:
            raise DataError(f"the deepmd/npy system {path} has {name} of shape {data[name].shape}, expected {shape}")
    return (
        Atoms(symbols, positions=positions, cell=cell if periodic else None, pbc=periodic)
        for positions, cell in zip(data["coords"], data["cells"], strict=True)
    )
