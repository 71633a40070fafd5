"""Errors of forces, energies and stresses, among them the metric of the paper (Eq. 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from elmlff_core.arrays import blocks
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction

SPLITS = ("train", "valid", "test")
SPLIT_TITLES = {"train": "training", "valid": "validation", "test": "test"}
# Evaluating all training structures would often take most of the time, and no decision depends on their error.
MOST_TRAINING_STRUCTURES = 500


@dataclass(frozen=True)
class ForceMetrics:
    """Force errors in eV/Å.

    Attributes
    ----------
    rmse_per_frame : metric of the paper (Eq. 7): the RMSE over atoms and components of each structure, averaged over
        structures
    rmse : RMSE over all atoms and components of all structures
    mae : mean absolute error of the components
    """

    rmse_per_frame: float
    rmse: float
    mae: float


def rmse_of_frames(predicted: np.ndarray, reference: np.ndarray, n_atoms: np.ndarray) -> np.ndarray:
    """Return the force RMSE of each structure: (n_structures,), eV/Å.

    Parameters
    ----------
    predicted, reference : (n_rows, 3), eV/Å, rows in the order of the structures
    n_atoms : (n_structures,) int
    """
    squared, _ = _sums_of_frames(predicted, reference, n_atoms)
    return np.asarray(np.sqrt(squared / (3 * n_atoms)))


def force_metrics(predicted: np.ndarray, reference: np.ndarray, n_atoms: np.ndarray) -> ForceMetrics:
    """Return all force errors; arguments as in `rmse_of_frames`."""
    squared, absolute = _sums_of_frames(predicted, reference, n_atoms)
    n_components = 3 * int(n_atoms.sum())
    return ForceMetrics(
        rmse_per_frame=float(np.sqrt(squared / (3 * n_atoms)).mean()),
        rmse=float(np.sqrt(squared.sum() / n_components)),
        mae=float(absolute.sum() / n_components),
    )


def _sums_of_frames(predicted: np.ndarray, reference: np.ndarray, n_atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of squared and of absolute component errors in each structure: two (n_structures,) arrays."""
    squared, absolute = np.empty(len(n_atoms)), np.empty(len(n_atoms))
    for structures, rows in blocks(n_atoms):
        error = predicted[rows] - reference[rows]
        sizes = n_atoms[structures]
        starts = np.cumsum(sizes) - sizes
        squared[structures] = np.add.reduceat((error**2).sum(axis=1), starts)
        absolute[structures] = np.add.reduceat(np.abs(error).sum(axis=1), starts)
    return squared, absolute


def metrics(prediction: Prediction, features: Features) -> dict[str, float]:
    """Return the errors of a prediction against the labels in `features`, for tables and JSON.

    The keys are those of `ForceMetrics`.  If both have energies, which must be relative to the same zero,
    ``energy_rmse_per_atom`` and ``energy_mae_per_atom`` (eV) are added; if both have stresses, ``stress_rmse`` and
    ``stress_mae`` (eV/Å³), over the six components of the structures that have a stress label.
    """
    found = asdict(force_metrics(prediction.forces, features.reference_forces, features.n_atoms))
    errors = {"energy": energy_errors(prediction, features), "stress": stress_errors(prediction, features)}
    for name, error in errors.items():
        if error is not None:
            suffix = "_per_atom" if name == "energy" else ""
            found[f"{name}_rmse{suffix}"] = float(np.sqrt((error**2).mean()))
            found[f"{name}_mae{suffix}"] = float(np.abs(error).mean())
    return found


def energy_errors(prediction: Prediction, features: Features) -> np.ndarray | None:
    """Return the energy errors per atom: (n_structures,), eV; None if `prediction` or the labels have no energies."""
    reference = None if features.reference is None else features.reference.energy
    if prediction.energy is None or reference is None:
        return None
    return np.asarray((prediction.energy - reference) / features.n_atoms)


def stress_errors(prediction: Prediction, features: Features) -> np.ndarray | None:
    """Return the stress errors: (n_labelled, 6), eV/Å³; None if `prediction` or the labels have no stresses."""
    labelled = labelled_stresses(features)
    if prediction.stress is None or not len(labelled):
        return None
    assert features.reference is not None
    assert features.reference.stress is not None
    return np.asarray(prediction.stress[labelled] - features.reference.stress[labelled])


def labelled_stresses(features: Features) -> np.ndarray:
    """Return the indices of the structures that have a stress label: (n_labelled,) int64."""
    reference = None if features.reference is None else features.reference.stress
    return np.flatnonzero(np.zeros(0) if reference is None else np.isfinite(reference).all(axis=1))


def mean_rmse_per_frame(forces: np.ndarray, features: Features) -> float:
    """Return the force RMSE per structure, averaged over structures (Eq. 7), of `forces` (n_rows, 3), eV/Å."""
    return float(rmse_of_frames(forces, features.reference_forces, features.n_atoms).mean())


def evaluated_splits(features: Mapping[str, Features]) -> dict[str, Features]:
    """Return the features over which errors are computed where many fits are compared.

    Of the training structures, at most `MOST_TRAINING_STRUCTURES` are used, evenly spaced.  The other splits are used
    as a whole.
    """
    n_train = len(features["train"])
    chosen = np.unique(np.linspace(0, n_train - 1, min(n_train, MOST_TRAINING_STRUCTURES)).round().astype(np.int64))
    return {split: features[split].subset(chosen) if split == "train" else features[split] for split in SPLITS}
