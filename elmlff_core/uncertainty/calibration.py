"""Calibration: from a raw uncertainty to a standard deviation, and to intervals of stated coverage.

Calibration has two steps, both learnt on validation structures:

- ``std = scale * (raw / reference)^exponent``, with one exponent and a scale for each element,
  ``sqrt(mean(error² / (raw / reference)^(2 exponent)))``.  This is the maximum likelihood for normal errors.  Exponent
  1 is the usual scaling of a committee.  But if one base model is bad, the committee spread follows its errors, which
  vary over decades, unlike those of the stack.  For three base models, one of which has errors five times those of the
  best, the best exponent is near a half, and plain scaling overstates the RMS error by a factor of five.  Exponent 0
  means that the raw uncertainty has no information on the errors;
- *conformal* quantiles of ``|error| / std``, which need no assumption on the distribution of the errors.

The errors of atoms in one structure are correlated, so atoms are not exchangeable; structures are assumed to be.  The
quantiles are those of hierarchical conformal prediction (Lee, Barber and Willett, arXiv 2306.06342): each of the K
structures has the same weight, shared among its atoms, and the level is raised to ``coverage * (1 + 1/K)``.  The stated
coverage then holds on average for an atom picked at random from a new structure, if new structures come from the
distribution of the validation structures.  It does not hold for each single atom or structure, nor far from the data.
It is optimistic if validation structures are neighbours in a trajectory, or if they selected the best state of the
meta-model.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from elmlff_core.errors import ElmlffError

# Base models may agree on an atom by chance, so raw uncertainties below this fraction of the median are raised to it.
FLOOR = 0.1
# The scale of an element is shrunk towards that of all atoms, as if this many additional atoms had the latter.
PRIOR_ATOMS = 20
EXPONENTS = np.linspace(0.0, 2.0, 41)
N_LEVELS = 1001


@dataclass(frozen=True)
class Calibration:
    """Calibration of a raw uncertainty, fitted to validation errors.

    Attributes
    ----------
    floor : smallest raw uncertainty; smaller values are raised to it.  Its unit is that of the raw uncertainty
    reference : median of the raw uncertainty
    exponent : exponent of the raw uncertainty in the standard deviation
    scale : standard deviation of an error component at the median raw uncertainty, over all atoms (or structures)
    element_scales : the same by atomic number; other elements, and energies, have `scale`
    quantiles : (1001,) of ``|error| / std`` at the levels 0, 0.001, ..., 1
    n_structures : number of validation structures
    """

    floor: float
    reference: float
    exponent: float
    scale: float
    element_scales: dict[int, float] = field(default_factory=dict)
    quantiles: tuple[float, ...] = ()
    n_structures: int = 0

    @classmethod
    def fit(
        cls, raw: np.ndarray, error: np.ndarray, n_atoms: np.ndarray, atomic_numbers: np.ndarray | None = None
    ) -> Calibration:
        """Fit exponent, scales and quantiles to validation errors.

        Parameters
        ----------
        raw : (n_rows,), raw uncertainty, not negative
        error : (n_rows, n_components): 3 for forces, 1 for energies
        n_atoms : (n_structures,) int, rows of each structure; ones for energies
        atomic_numbers : (n_rows,) int, for scales by element, or None

        Raises
        ------
        ElmlffError
            There are no rows to calibrate on.
        """
        if not len(raw):
            raise ElmlffError("there are no validation structures to calibrate uncertainties on")
        # The median is zero if base models agree exactly on most atoms; the other atoms then give the magnitude.
        reference = float(np.median(raw)) or float(np.sqrt((raw**2).mean())) or 1.0
        floor = FLOOR * reference
        relative = np.maximum(raw, floor) / reference
        squared = (error**2).mean(axis=1)  # (n_rows,)
        groups = np.zeros(len(raw), dtype=int) if atomic_numbers is None else atomic_numbers
        exponent = likeliest_exponent(relative, squared, groups)
        ratios = squared / relative ** (2 * exponent)
        overall = float(ratios.mean())
        scales = {}
        for number in [] if atomic_numbers is None else np.unique(atomic_numbers).tolist():
            own = ratios[atomic_numbers == number]
            scales[int(number)] = float(np.sqrt((own.sum() + PRIOR_ATOMS * overall) / (len(own) + PRIOR_ATOMS)))
        # A stack without validation errors would have scale zero; the smallest scale that keeps scores finite is used.
        tiny = float(np.finfo(np.float64).tiny) ** 0.5
        element_scales = {number: max(scale, tiny) for number, scale in scales.items()}
        scaled = cls(floor, reference, exponent, max(float(np.sqrt(overall)), tiny), element_scales)
        scores = np.linalg.norm(error, axis=1) / scaled.std(raw, atomic_numbers)
        weights = np.repeat(1.0 / (len(n_atoms) * n_atoms), n_atoms)
        quantiles = weighted_quantiles(scores, weights, np.linspace(0.0, 1.0, N_LEVELS))
        return replace(scaled, quantiles=tuple(quantiles.tolist()), n_structures=len(n_atoms))

    def std(self, raw: np.ndarray, atomic_numbers: np.ndarray | None = None) -> np.ndarray:
        """Return the calibrated standard deviation of one error component: (n_rows,), in the unit of the errors.

        Parameters
        ----------
        raw : (n_rows,), raw uncertainty
        atomic_numbers : (n_rows,) int, for scales by element, or None
        """
        scale: float | np.ndarray = self.scale
        if atomic_numbers is not None:
            table = np.full(119, self.scale)
            table[list(self.element_scales)] = list(self.element_scales.values())
            scale = table[atomic_numbers]
        return np.asarray(scale * (np.maximum(raw, self.floor) / self.reference) ** self.exponent)

    def factor(self, coverage: float) -> float:
        """Return the half-width, in standard deviations, of the interval that contains `coverage` of the errors.

        It is infinite if there are too few validation structures.  The error of a vector is the norm of the difference.
        ElmlffError if `coverage` is not between 0 and 1.
        """
        if not 0 < coverage < 1:
            raise ElmlffError(f"coverage {coverage} is not between 0 and 1: 0.9 means nine in ten")
        level = coverage * (1 + 1 / self.n_structures)
        if level > 1:
            return np.inf
        # The level is rounded up to the table, which can only widen the interval.
        return self.quantiles[int(np.ceil(level * (N_LEVELS - 1) - 1e-9))]


def likeliest_exponent(relative: np.ndarray, squared: np.ndarray, groups: np.ndarray) -> float:
    """Return the exponent of maximum likelihood for normal errors with ``std = scale_group * relative^exponent``.

    Parameters
    ----------
    relative : (n_rows,), positive, raw uncertainty relative to its median
    squared : (n_rows,), mean square of the error components of each row
    groups : (n_rows,) int, group of each row; rows of one group share a scale
    """
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    logarithms = np.log(relative)
    losses = []
    for exponent in EXPONENTS:
        # With the best scale of each group, the mean of error²/std² is one, and only log(std²) depends on the exponent.
        scales = np.bincount(group, squared * np.exp(-2 * exponent * logarithms)) / counts
        known = scales > 0  # a group without errors does not depend on the exponent
        losses.append(float((counts[known] * np.log(scales[known])).sum() + 2 * exponent * logarithms.sum()))
    return float(EXPONENTS[int(np.argmin(losses))])


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return, for each level, the smallest of `values` up to which at least this fraction of the weight lies.

    Parameters
    ----------
    values, weights : (n,), weights sum to one
    levels : (k,), 0 to 1

    Returns
    -------
    (k,) float64
    """
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    # Sums of weights have rounding errors, so a level counts as reached within a tolerance.
    position = np.searchsorted(cumulative, levels - 1e-12)
    return np.asarray(values[order][np.minimum(position, len(values) - 1)])
