"""Write structures to an extxyz file that ASE reads: with labels, or with predictions and their uncertainties."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from elmlff_core.contracts.prediction import Prediction
from elmlff_core.data.labels import bare
from elmlff_core.files import replacing


def write_predictions(
    structures: Sequence[Atoms],
    prediction: Prediction,
    path: Path,
    forces_std: np.ndarray | None = None,
    energy_std: np.ndarray | None = None,
) -> None:
    """Write structures with predicted ``forces`` (eV/Å), and ``energy`` (eV) and ``stress`` (eV/Å³) if there are any.

    Parameters
    ----------
    structures : structures of the prediction
    prediction : prediction for all of them
    path : the extxyz file to write
    forces_std : (n_rows,), eV/Å, standard deviations of force components, written as a per-atom array
    energy_std : (n_structures,), eV, standard deviations of energies, written into the ``info`` of each structure

    Raises
    ------
    ElmlffError
        `path` cannot be written; what was there before is still there.
    """
    predicted = []
    offsets = prediction.offsets
    for index, atoms in enumerate(structures):
        copy = bare(atoms)
        others = {}
        if prediction.energy is not None:
            others["energy"] = float(prediction.energy[index])
        if prediction.stress is not None:
            others["stress"] = prediction.stress[index]
        copy.calc = SinglePointCalculator(copy, forces=prediction.forces_of(index), **others)
        if forces_std is not None:
            copy.arrays["forces_std"] = forces_std[offsets[index] : offsets[index + 1]]
        if energy_std is not None:
            copy.info["energy_std"] = float(energy_std[index])
        predicted.append(copy)
    write_structures(predicted, path)


def write_structures(structures: Iterable[Atoms], path: Path) -> None:
    """Write structures with what their arrays, ``info`` and calculators hold.

    Raises
    ------
    ElmlffError
        `path` cannot be written; what was there before is still there.
    """
    with replacing(path) as partial:
        ase.io.write(partial, list(structures), format="extxyz")
