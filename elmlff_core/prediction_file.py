"""Predictions as a file that ASE reads: extxyz with energy and forces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ase.io
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from elmlff_core.data.labels import bare
from elmlff_core.errors import DataError
from elmlff_core.prediction import Prediction


def write_predictions(structures: Sequence[Atoms], prediction: Prediction, path: Path) -> None:
    """Write structures with predicted ``forces`` (eV/Å) and ``energy`` (eV); DataError where `path` cannot be."""
    predicted = []
    for index, atoms in enumerate(structures):
        copy = bare(atoms)
        energy = {} if prediction.energy is None else {"energy": float(prediction.energy[index])}
        copy.calc = SinglePointCalculator(copy, forces=prediction.forces_of(index), **energy)
        predicted.append(copy)
    try:
        ase.io.write(path, predicted, format="extxyz")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error}") from error
