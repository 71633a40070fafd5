"""Quality of uncertainties on test structures: rank correlation with errors, size, and coverage of intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from elmlff_core.uncertainty.calibration import Calibration
from elmlff_core.uncertainty.domain import Outside, largest_of_each
from elmlff_core.uncertainty.uncertainty import Uncertainty

if TYPE_CHECKING:
    from elmlff_core.contracts.features import Features
    from elmlff_core.contracts.prediction import Prediction

COVERAGES = (0.5, 0.68, 0.9, 0.95)
N_BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """A group of `n` rows of similar predicted standard deviation.

    `predicted` and `observed` are the RMS values of the standard deviation and of the errors, per component.
    """

    n: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class Coverage:
    """Stated coverage of an interval, and the fraction of the test errors inside it.

    Attributes
    ----------
    stated : stated coverage
    conformal : fraction inside the conformal interval; None if there were too few validation structures for one
    normal : fraction inside the interval of a normal distribution with the calibrated standard deviation
    """

    stated: float
    conformal: float | None
    normal: float


@dataclass(frozen=True)
class UncertaintyQuality:
    """Comparison of uncertainties with errors.

    Attributes
    ----------
    n : number of atoms, or of structures for energies
    spearman : rank correlation of predicted standard deviation and error magnitude; None if one of them is constant
    rms_predicted, rms_observed : RMS of standard deviation and of errors, per component, eV/Å or eV; they are equal if
        the calibration also holds on test structures
    reliability : tenths of the rows, sorted by predicted standard deviation; a single group if that is constant
    coverage : for 50, 68, 90 and 95 %; the fraction of atoms of a structure, averaged over structures
    """

    n: int
    spearman: float | None
    rms_predicted: float
    rms_observed: float
    reliability: tuple[ReliabilityBin, ...]
    coverage: tuple[Coverage, ...]


def force_quality(
    uncertainty: Uncertainty,
    features: Features,
    prediction: Prediction,
    meta: Any = None,
    outside: Outside | None = None,
    chosen: np.ndarray | None = None,
) -> UncertaintyQuality:
    """Compare uncertainties of forces with the errors of `prediction`.

    Parameters
    ----------
    uncertainty, features, prediction, meta : what is compared; `features` hold reference labels
    outside : how far the atoms are from what the stack was fitted on, computed if not given
    chosen : indices of the structures that are compared; all by default
    """
    std = uncertainty.forces_std(features, meta, outside or uncertainty.outside(features, prediction.forces))
    error = prediction.forces - features.reference_forces
    if chosen is None:
        return _quality(std, error, features.n_atoms, uncertainty.force)
    rows = features.rows(chosen)
    return _quality(std[rows], error[rows], features.n_atoms[chosen], uncertainty.force)


def qualities_by_domain(
    uncertainty: Uncertainty, features: Features, prediction: Prediction, meta: Any, outside: Outside | None
) -> dict[str, UncertaintyQuality]:
    """Return the quality of uncertainties of forces on structures ``inside`` and ``outside``, where there are any.

    Parameters as in `force_quality`.
    """
    is_outside = structures_outside(outside, features)
    groups = {"inside": np.flatnonzero(~is_outside), "outside": np.flatnonzero(is_outside)}
    return {
        name: force_quality(uncertainty, features, prediction, meta, outside, chosen)
        for name, chosen in groups.items()
        if len(chosen)
    }


def structures_outside(outside: Outside | None, features: Features) -> np.ndarray:
    """Return which structures have an atom outside what the stack was fitted on: (n_structures,) bool."""
    if outside is None:
        return np.zeros(len(features), dtype=bool)
    return largest_of_each(outside.score, features) > 1


def energy_quality(
    uncertainty: Uncertainty, features: Features, prediction: Prediction, outside: Outside | None = None
) -> UncertaintyQuality | None:
    """Compare uncertainties of energies with errors; None if uncertainty, labels or prediction have no energies."""
    std = uncertainty.energy_std(features, outside or uncertainty.outside(features, prediction.forces))
    reference = None if features.reference is None else features.reference.energy
    if std is None or reference is None or prediction.energy is None or uncertainty.energy is None:
        return None
    ones = np.ones(len(features), dtype=np.int64)
    return _quality(std, (prediction.energy - reference)[:, None], ones, uncertainty.energy)


def _quality(std: np.ndarray, error: np.ndarray, n_atoms: np.ndarray, calibration: Calibration) -> UncertaintyQuality:
    from scipy.stats import chi, spearmanr  # scipy is slow to import

    magnitude = np.linalg.norm(error, axis=1)
    squared = (error**2).mean(axis=1)
    ratio = magnitude / std
    shares = np.repeat(1.0 / (len(n_atoms) * n_atoms), n_atoms)
    coverage = []
    for stated in COVERAGES:
        factor = calibration.factor(stated)
        normal = chi(error.shape[1]).ppf(stated)
        conformal = None if np.isinf(factor) else float(shares[ratio <= factor].sum())
        coverage.append(Coverage(stated, conformal, float(shares[ratio <= normal].sum())))
    varies = np.ptp(std) > 1e-9 * std.max() and np.ptp(magnitude) > 0
    bins = np.array_split(np.argsort(std, kind="stable"), N_BINS if varies else 1)
    return UncertaintyQuality(
        n=len(std),
        spearman=float(spearmanr(std, magnitude).statistic) if varies else None,
        rms_predicted=float(np.sqrt((std**2).mean())),
        rms_observed=float(np.sqrt(squared.mean())),
        reliability=tuple(
            ReliabilityBin(len(rows), float(np.sqrt((std[rows] ** 2).mean())), float(np.sqrt(squared[rows].mean())))
            for rows in bins
            if len(rows)
        ),
        coverage=tuple(coverage),
    )
