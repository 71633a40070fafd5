"""Calibration: from a spread to a standard deviation, and to intervals of stated coverage.

Two corrections, both learnt on validation structures:

- ``std = scale * (spread / reference)^exponent``, with one exponent and a scale for each element,
  ``sqrt(mean(error² / (spread / reference)^(2 exponent)))``: the maximum likelihood for normal errors.  Exponent 1 is
  the usual scaling of a committee.  But where one base is bad, the spread follows its errors, over decades that those
  of the stack do not span: three bases of which one errs five times as much as the best want an exponent near a half,
  and plain scaling then overstates the RMS error by five.  Exponent 0 says that the spread tells nothing;
- *conformal* quantiles of what remains, ``|error| / std``, which need no assumption on the shape of the errors.

Atoms of one structure err together, so that they are not exchangeable; structures are taken to be.  The quantiles are
those of hierarchical conformal prediction (Lee, Barber and Willett, arXiv 2306.06342): each of the K structures weighs
the same, shared among its atoms, and the level is raised to ``coverage * (1 + 1/K)``.  The stated coverage then holds
on average for an atom picked at random from a new structure, where new structures come from the distribution of the
validation structures.  It holds neither for each atom or structure by itself, nor far from the data; and validation
structures that are neighbours in a trajectory, or that a meta-model's best state was chosen by, make it optimistic.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from elmlff_core.errors import ElmlffError

# Bases that happen to agree on an atom are not certain of it: no spread counts for less than this part of the median.
FLOOR = 0.1
# The scale of an element is shrunk towards the scale of all atoms as if this many further atoms had that one.
PRIOR_ATOMS = 20
EXPONENTS = np.linspace(0.0, 2.0, 41)
N_LEVELS = 1001


@dataclass(frozen=True)
class Calibration:
    """What validation errors say about a spread.

    Attributes
    ----------
    floor : the least spread that counts, in the spread's unit
    reference : the median spread
    exponent : of the spread in the standard deviation
    scale : standard deviation of an error component at the median spread, over all atoms (or structures)
    element_scales : the same by atomic number; other elements, and energies, have `scale`
    quantiles : (1001,) of ``|error| / std`` at the levels 0, 0.001, ..., 1
    n_structures : validation structures they come from
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
        cls, spread: np.ndarray, error: np.ndarray, n_atoms: np.ndarray, atomic_numbers: np.ndarray | None = None
    ) -> Calibration:
        """Scales and quantiles from validation errors.

        Parameters
        ----------
        spread : (n_rows,), not negative
        error : (n_rows, n_components): 3 for forces, 1 for energies
        n_atoms : (n_structures,) int, rows of each structure; ones for energies
        atomic_numbers : (n_rows,) int, for scales by element, or None

        Raises
        ------
        ElmlffError
            No rows to calibrate on.
        """
        if not len(spread):
            raise ElmlffError("there are no validation structures to calibrate uncertainties on")
        # Where most bases agree exactly the median is zero: the others' disagreement then sets the order of magnitude.
        reference = float(np.median(spread)) or float(np.sqrt((spread**2).mean())) or 1.0
        floor = FLOOR * reference
        relative = np.maximum(spread, floor) / reference
        squared = (error**2).mean(axis=1)  # (n_rows,)
        groups = np.zeros(len(spread), dtype=int) if atomic_numbers is None else atomic_numbers
        exponent = likeliest_exponent(relative, squared, groups)
        ratios = squared / relative ** (2 * exponent)
        overall = float(ratios.mean())
        scales = {}
        for number in [] if atomic_numbers is None else np.unique(atomic_numbers).tolist():
            own = ratios[atomic_numbers == number]
            scales[int(number)] = float(np.sqrt((own.sum() + PRIOR_ATOMS * overall) / (len(own) + PRIOR_ATOMS)))
        # A stack without any error on validation would have no scale: the smallest that keeps scores finite.
        tiny = float(np.finfo(np.float64).tiny) ** 0.5
        element_scales = {number: max(scale, tiny) for number, scale in scales.items()}
        scaled = cls(floor, reference, exponent, max(float(np.sqrt(overall)), tiny), element_scales)
        scores = np.linalg.norm(error, axis=1) / scaled.std(spread, atomic_numbers)
        weights = np.repeat(1.0 / (len(n_atoms) * n_atoms), n_atoms)
        quantiles = weighted_quantiles(scores, weights, np.linspace(0.0, 1.0, N_LEVELS))
        return replace(scaled, quantiles=tuple(quantiles.tolist()), n_structures=len(n_atoms))

    def std(self, spread: np.ndarray, atomic_numbers: np.ndarray | None = None) -> np.ndarray:
        """Calibrated standard deviation of one error component: (n_rows,), in the errors' unit."""
        scale: float | np.ndarray = self.scale
        if atomic_numbers is not None:
            table = np.full(119, self.scale)
            table[list(self.element_scales)] = list(self.element_scales.values())
            scale = table[atomic_numbers]
        return np.asarray(scale * (np.maximum(spread, self.floor) / self.reference) ** self.exponent)

    def factor(self, coverage: float) -> float:
        """Standard deviations within which `coverage` of the errors lie; infinite where validation is too small.

        For vectors, the errors are their norms.  ElmlffError where `coverage` is not between 0 and 1.
        """
        if not 0 < coverage < 1:
            raise ElmlffError(f"coverage {coverage} is not between 0 and 1: 0.9 means nine in ten")
        level = coverage * (1 + 1 / self.n_structures)
        if level > 1:
            return np.inf
        # The next level of the table: rounding up only widens the interval.
        return self.quantiles[int(np.ceil(level * (N_LEVELS - 1) - 1e-9))]


def likeliest_exponent(relative: np.ndarray, squared: np.ndarray, groups: np.ndarray) -> float:
    """The exponent under which normal errors with ``std = scale_group * relative^exponent`` are most likely.

    Parameters
    ----------
    relative : (n_rows,), positive
    squared : (n_rows,), mean square of each row's error components
    groups : (n_rows,) int, rows that share a scale
    """
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    logarithms = np.log(relative)
    losses = []
    for exponent in EXPONENTS:
        # With the best scale of each group, its mean of error²/std² is one and log(std²) is what remains.
        scales = np.bincount(group, squared * np.exp(-2 * exponent * logarithms)) / counts
        known = scales > 0  # a group without any error is certain under each exponent
        losses.append(float((counts[known] * np.log(scales[known])).sum() + 2 * exponent * logarithms.sum()))
    return float(EXPONENTS[int(np.argmin(losses))])


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The smallest of `values` below or at which at least `levels` of the weight lies.

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
    # Sums of weights are rounded: a level reached to within that counts as reached.
    position = np.searchsorted(cumulative, levels - 1e-12)
    return np.asarray(values[order][np.minimum(position, len(values) - 1)])
