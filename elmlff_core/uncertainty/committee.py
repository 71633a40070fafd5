"""Spread: how far the bases disagree, before any calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elmlff_core.arrays import BLOCK_ROWS
from elmlff_core.contracts.protocols import LearntUncertainty
from elmlff_core.errors import ElmlffError
from elmlff_core.features.energies import EnergyCombination

if TYPE_CHECKING:
    from elmlff_core.contracts.features import Features


def committee_spread(forces: np.ndarray) -> np.ndarray:
    """Disagreement of the bases on the force on each atom, per component.

    ``sigma_i² = 1/(3 M) sum_m |F_mi - <F>_i|²``, with ``<F>_i`` the mean of the M bases: zero for one base.

    Parameters
    ----------
    forces : (n_models, n_rows, 3), eV/Å

    Returns
    -------
    (n_rows,) float64, eV/Å
    """
    spread = np.empty(forces.shape[1])
    for start in range(0, len(spread), BLOCK_ROWS):
        block = forces[:, start : start + BLOCK_ROWS]
        spread[start : start + BLOCK_ROWS] = np.sqrt(((block - block.mean(axis=0)) ** 2).mean(axis=(0, 2)))
    return spread


def force_spread(features: Features, meta: Any = None) -> tuple[np.ndarray, str]:
    """The spread that is to be calibrated, and where it comes from.

    Parameters
    ----------
    features : of any structures
    meta : the meta-model, whose learnt spread is taken where it has one (`LearntUncertainty`)

    Returns
    -------
    (n_rows,) float64, eV/Å, and ``learnt``, ``committee`` or, with fewer than two bases, ``constant`` (ones)

    Raises
    ------
    ElmlffError
        A learnt spread of the wrong shape, or one that is negative or not finite.
    """
    learnt = meta.forces_std(features) if isinstance(meta, LearntUncertainty) else None
    if learnt is not None:
        learnt, n_rows = np.asarray(learnt, dtype=np.float64), features.forces.shape[1]
        if learnt.shape != (n_rows,) or not np.isfinite(learnt).all() or (learnt < 0).any():
            raise ElmlffError(
                f"{type(meta).__name__}.forces_std returned an array of shape {learnt.shape}, expected ({n_rows},) "
                "finite and non-negative values"
            )
        return learnt, "learnt"
    if len(features.models) < 2:
        return np.ones(features.forces.shape[1]), "constant"
    return committee_spread(features.forces), "committee"


def energy_spread(features: Features, alignment: EnergyCombination) -> np.ndarray:
    """Standard deviation over the bases of their aligned energies: (n_structures,), eV; ones for one base.

    `alignment` carries the per-element offsets that bring the bases to one zero of energy; its weights are not used.
    """
    if len(alignment.models) == 1:
        return np.ones(len(features))
    return np.asarray(alignment.aligned(features).std(axis=0))
