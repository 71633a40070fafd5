"""Write structures to an extxyz file that ASE reads, or to a deepmd/npy folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from elmlff_core.errors import DataError
from elmlff_core.files import replacing

SET = "set.000"


def write_structures(structures: Iterable[Atoms], path: Path) -> None:
    """Write structures with what their arrays, ``info`` and calculators hold.

    Raises
    ------
    ElmlffError
        `path` cannot be written; what was there before is still there.
    """
    with replacing(path) as partial:
        ase.io.write(partial, list(structures), format="extxyz")


def write_deepmd(structures: Sequence[Atoms], folder: Path) -> None:
    """Write structures as a tree of deepmd/npy systems: one for each composition, order of atoms and kind of labels.

    The labels are the energy (eV), forces (eV/Å) and stress (eV/Å³, written as a virial in eV) that their single-point
    calculators hold, if any.

    Parameters
    ----------
    structures : periodic in all directions that have a cell, or not periodic
    folder : where there is nothing yet

    Raises
    ------
    DataError
        A structure is periodic and has no volume, which the format does not know.
    ElmlffError
        `folder` exists or cannot be written.
    """
    systems: dict[tuple[object, ...], list[Atoms]] = {}
    for index, atoms in enumerate(structures):
        if atoms.pbc.any() and atoms.cell.rank < 3:
            raise DataError(
                f"structure {index} is periodic, and its cell has fewer than three vectors: deepmd/npy cannot hold it; "
                "give it a cell with vacuum"
            )
        key = (atoms.numbers.tobytes(), bool(atoms.pbc.any()), *sorted(_labels(atoms)))
        systems.setdefault(key, []).append(atoms)
    names: dict[str, int] = {}
    with replacing(folder) as partial:
        for members in systems.values():
            formula = members[0].get_chemical_formula()
            names[formula] = names.get(formula, 0) + 1
            name = formula if names[formula] == 1 else f"{formula}-{names[formula]}"
            _write_system(members, partial / name)


def _labels(atoms: Atoms) -> dict[str, np.ndarray]:
    """Return the labels of a structure, by the names of the files."""
    results = {} if atoms.calc is None else atoms.calc.results
    found = {}
    if "energy" in results:
        found["energy"] = np.asarray(results["energy"], np.float64)
    if "forces" in results:
        found["force"] = np.asarray(results["forces"], np.float64).reshape(-1)
    if "stress" in results and atoms.cell.rank == 3:
        found["virial"] = -voigt_6_to_full_3x3_stress(results["stress"]).reshape(-1) * atoms.get_volume()
    return found


def _write_system(members: Sequence[Atoms], folder: Path) -> None:
    first = members[0]
    (folder / SET).mkdir(parents=True)
    symbols = sorted(set(first.get_chemical_symbols()))
    types = [symbols.index(symbol) for symbol in first.get_chemical_symbols()]
    (folder / "type.raw").write_text("".join(f"{kind}\n" for kind in types))
    (folder / "type_map.raw").write_text("".join(f"{symbol}\n" for symbol in symbols))
    if not first.pbc.any():
        (folder / "nopbc").touch()
    arrays = {"coord": [atoms.positions.reshape(-1) for atoms in members]}
    arrays["box"] = [_box(atoms).reshape(-1) for atoms in members]
    labels = [_labels(atoms) for atoms in members]
    arrays |= {name: [found[name] for found in labels] for name in labels[0]}
    for name, rows in arrays.items():
        np.save(folder / SET / f"{name}.npy", np.array(rows, np.float64))


def _box(atoms: Atoms) -> np.ndarray:
    """Return the cell; a structure that is not periodic has a large one, which readers ignore."""
    return np.asarray(atoms.cell.array) if atoms.pbc.any() else np.eye(3) * 100.0
