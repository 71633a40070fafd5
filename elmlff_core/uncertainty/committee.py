"""Raw uncertainties, before calibration: the committee spread, or a standard deviation that a meta-model has."""

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
    """Return the committee spread: how far the base models disagree on the force on each atom, per component.

    ``sigma_i² = 1/(3 M) sum_m |F_mi - <F>_i|²``, where ``<F>_i`` is the mean of the M base models.  It is zero for a
    single base model.

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


def raw_forces_std(features: Features, meta: Any = None) -> tuple[np.ndarray, str]:
    """Return the raw uncertainty of forces, which is to be calibrated, and its kind.

    Parameters
    ----------
    features : features of any structures
    meta : the meta-model; its own standard deviation is used if it has one (`LearntUncertainty`)

    Returns
    -------
    raw : (n_rows,) float64, eV/Å
    kind : ``learnt``, ``seeds`` for the spread of several fits, ``committee`` or, with fewer than two base models,
        ``constant`` (all values are one)

    Raises
    ------
    ElmlffError
        The learnt standard deviation has the wrong shape, or has values that are negative or not finite.
    """
    if isinstance(meta, LearntUncertainty) and (learnt := _learnt(features, meta)) is not None:
        return learnt, getattr(meta, "std_kind", "learnt")
    if len(features.models) < 2:
        return np.ones(features.forces.shape[1]), "constant"
    return committee_spread(features.forces), "committee"


def _learnt(features: Features, meta: LearntUncertainty) -> np.ndarray | None:
    """Return what `meta` has learnt, block by block; None if it has learnt nothing."""
    found = np.empty(features.forces.shape[1])
    for rows, block in features.blocks():
        std = meta.forces_std(block)
        if std is None:
            return None
        std = np.asarray(std, dtype=np.float64)
        n_rows = rows.stop - rows.start
        if std.shape != (n_rows,) or not np.isfinite(std).all() or (std < 0).any():
            raise ElmlffError(
                f"{type(meta).__name__}.forces_std returned an array of shape {std.shape}, expected shape ({n_rows},) "
                "and values that are finite and not negative"
            )
        found[rows] = std
    return found


def committee_energy_spread(features: Features, alignment: EnergyCombination) -> np.ndarray:
    """Return the standard deviation of the aligned energies over the base models: (n_structures,), eV.

    With a single base model all values are one.  `alignment` holds the per-element offsets that give the base models
    one zero of energy; its weights are not used.
    """
    if len(alignment.models) == 1:
        return np.ones(len(features))
    return np.asarray(alignment.aligned(features).std(axis=0))
