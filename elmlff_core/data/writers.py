"""Predictions as a file that ASE reads: extxyz with energy and forces, and how far they may be off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from elmlff_core.contracts.prediction import Prediction
from elmlff_core.data.labels import bare
from elmlff_core.errors import DataError


def write_predictions(
    structures: Sequence[Atoms], prediction: Prediction, stds: Mapping[str, np.ndarray], path: Path
) -> None:
    """Write structures with predicted ``forces`` (eV/Å), and ``energy`` (eV) where there is one.

    Parameters
    ----------
    stds : of `Stack.stds`: ``forces_std`` becomes an array of the atoms, ``energy_std`` a number of the structure

    Raises
    ------
    DataError
        `path` cannot be written.
    """
    predicted = []
    rows = np.split(np.arange(prediction.n_atoms.sum()), np.cumsum(prediction.n_atoms)[:-1])
    for index, atoms in enumerate(structures):
        copy = bare(atoms)
        energy = {} if prediction.energy is None else {"energy": float(prediction.energy[index])}
        copy.calc = SinglePointCalculator(copy, forces=prediction.forces_of(index), **energy)
        if "forces_std" in stds:
            copy.arrays["forces_std"] = stds["forces_std"][rows[index]]
        if "energy_std" in stds:
            copy.info["energy_std"] = float(stds["energy_std"][index])
        predicted.append(copy)
    try:
        ase.io.write(path, predicted, format="extxyz")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error}") from error
