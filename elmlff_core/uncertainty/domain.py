"""The domain of a stack: which atoms lie outside what it was fitted on, and why.

Two things tell.  The *surroundings* of an atom may be far from those of all training atoms of its element; then the
base models may agree and be wrong together.  Or the base models *disagree* more than they did on the training
structures: one of them knows nothing there, even if the surroundings look familiar.  The distance to the nearest
training surroundings, and the distance of the furthest base force from the centre of all, are each divided by a limit.
An atom is outside where one of both exceeds 1.

The limits are calibrated as in conformal prediction (Vovk et al., Algorithmic Learning in a Random World, 2005): each
training structure is compared with the others, as if it were new, and validation structures with all.  A limit is the
quantile of the largest value in each structure.  The rate of false alarms, of structures like those, is then known; it
is stated, and with fewer than 400 structures it is larger than 1 %.  It holds on average for structures as large as the
training ones and drawn alike; a structure with more atoms has more chances to be named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from elmlff_core.errors import ElmlffError
from elmlff_core.features.guard import centre, usual_force, weights_of
from elmlff_core.files import write_bytes
from elmlff_core.graphs.neighbours import periodic_edges
from elmlff_core.uncertainty.surroundings import CUTOFF, channels, surroundings

if TYPE_CHECKING:
    from elmlff_core.contracts.features import Features

DOMAIN_FILE = "domain.safetensors"
ALARMS = 0.005  # rate of false alarms of each of the two limits, if there are enough structures
MOST_REFERENCES = 500  # training surroundings of each element that are kept
MOST_ATOMS = 20_000  # from which they are chosen, and on which the limits are calibrated
SMALLEST_DEVIATION = 1e-6  # eV/Å, below which base models agree
LARGEST_SCORE = 1e3  # of an element that the stack does not know, or of a base model that explodes
# Power of the score by which uncertainties grow outside, and up to which multiple of the forces; both are measured in
# benchmarks/out_of_domain.py.
WIDENING, CEILING = 3.0, 3.0


@dataclass(frozen=True)
class Outside:
    """How far atoms are from what a stack was fitted on.

    Attributes
    ----------
    surroundings : (n_rows,), distance to the nearest training surroundings, in units of the limit
    disagreement : (n_rows,), distance of the furthest base force from the centre of all, in units of the limit
    furthest : (n_rows,) int, index of the base model with this force; -1 with fewer than two base models
    widening : (n_rows,), factor by which the uncertainty of each atom grows, at least 1
    ceiling : (n_rows,), eV/Å, to which the uncertainty of each atom grows at most; infinite if no forces were given
    """

    surroundings: np.ndarray
    disagreement: np.ndarray
    furthest: np.ndarray
    widening: np.ndarray
    ceiling: np.ndarray

    @property
    def score(self) -> np.ndarray:
        """The larger of both: (n_rows,); above 1 an atom is outside."""
        return np.maximum(self.surroundings, self.disagreement)

    @property
    def suspect(self) -> np.ndarray:
        """What gives the score: (n_rows,) int, the index of a base model that disagrees, -1 for the surroundings."""
        return np.where(self.disagreement > self.surroundings, self.furthest, -1)

    @property
    def any(self) -> bool:
        """Whether any atom is outside."""
        return bool((self.score > 1.0).any())


@dataclass(frozen=True)
class Domain:
    """What a stack was fitted on.

    Attributes
    ----------
    elements : (n_elements,) int, atomic numbers
    references : training surroundings by atomic number, (n_references, n_numbers) float32
    surroundings_limit : largest usual distance to the nearest of them
    weights, usual : of base models and forces in the centre, as in the guard
    scales : (n_models,), eV/Å, median distances of base forces from the centre
    disagreement_limit : largest usual distance from the centre, in units of the scales; infinite with one base model
    alarms : rate of false alarms on structures like those of the fit
    """

    elements: np.ndarray
    references: Mapping[int, np.ndarray]
    surroundings_limit: float
    weights: np.ndarray
    usual: float
    scales: np.ndarray
    disagreement_limit: float = np.inf
    alarms: float = 2 * ALARMS
    table: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", channels(self.elements))

    @classmethod
    def fit(cls, train: Features, valid: Features, in_sample: bool = False) -> Domain:
        """Fit to the structures of a fit.

        Parameters
        ----------
        train, valid : features of training and validation structures, with labels
        in_sample : whether base models were trained on the training structures; they disagree too little there, and
            the limit of disagreement is calibrated on the validation structures alone
        """
        train, valid = train.sample(MOST_ATOMS), valid.sample(MOST_ATOMS)
        domain = cls(train.elements, {}, 1.0, weights_of(train), usual_force(train), np.ones(len(train.models)))
        domain, nearest = domain._with_references(train, valid)
        limit, alarms = conformal_limit(nearest)
        domain = replace(domain, surroundings_limit=limit, alarms=alarms)
        if len(train.models) < 2:
            return domain
        calibrating = (valid,) if in_sample else (train, valid)
        distances = [domain._deviations(features.forces) for features in calibrating]
        scales = np.maximum(np.median(np.concatenate(distances, axis=1), axis=1), SMALLEST_DEVIATION)
        furthest = [
            largest_of_each((found / scales[:, None]).max(axis=0), features)
            for found, features in zip(distances, calibrating, strict=True)
        ]
        limit, more = conformal_limit(np.concatenate(furthest))
        return replace(domain, scales=scales, disagreement_limit=limit, alarms=alarms + more)

    def outside(self, features: Features, forces: np.ndarray | None = None) -> Outside:
        """Compute how far the atoms of any structures are from what the stack was fitted on.

        With `forces` (n_rows, 3), eV/Å, that the stack predicts, uncertainties grow no further than to `CEILING` times
        the larger of each of them and the usual force of the fit: also a force field that knows nothing errs by no
        more than forces are large.
        """
        found = surroundings(features.structures, self.table)
        nearest = np.full(len(found), np.inf)  # elements that the stack does not know are infinitely far away
        for number, references in self.references.items():
            rows = np.flatnonzero(features.atomic_numbers == number)
            nearest[rows] = _distances(found[rows], references).min(axis=1, initial=np.inf)
        n_rows = features.forces.shape[1]
        disagreement, furthest = np.zeros(n_rows), np.full(n_rows, -1)
        if len(features.models) > 1:
            relative = self._deviations(features.forces) / self.scales[:, None]
            furthest = relative.argmax(axis=0)
            disagreement = relative.max(axis=0) / self.disagreement_limit
        nearest = np.minimum(nearest / self.surroundings_limit, LARGEST_SCORE)
        disagreement = np.minimum(disagreement, LARGEST_SCORE)
        spread = spread_to_neighbours(features, np.maximum(1.0, np.maximum(nearest, disagreement)))
        ceiling = np.full(n_rows, np.inf)
        if forces is not None:
            ceiling = CEILING * np.maximum(np.linalg.norm(forces, axis=1), self.usual)
        return Outside(nearest, disagreement, furthest, spread**WIDENING, ceiling)

    def save(self, path: Path) -> None:
        """Write the domain to a safetensors file."""
        numbers = [self.surroundings_limit, self.usual, self.disagreement_limit, self.alarms]
        tensors = {"elements": self.elements, "weights": self.weights, "scales": self.scales}
        tensors |= {f"references.{number}": rows for number, rows in self.references.items()}
        write_bytes(path, save({**tensors, "numbers": np.array(numbers)}))

    @classmethod
    def load(cls, path: Path) -> Domain:
        """Read the file that `save` wrote; ElmlffError if that fails."""
        try:
            tensors = load_file(path)
            limit, usual, disagreement, alarms = tensors["numbers"].tolist()
            references = {int(number): tensors[f"references.{number}"] for number in tensors["elements"]}
            return cls(
                tensors["elements"],
                references,
                limit,
                tensors["weights"],
                usual,
                tensors["scales"],
                disagreement,
                alarms,
            )
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise ElmlffError(f"cannot read {path}: {error}; restore it, or stack again") from error

    def _deviations(self, forces: np.ndarray) -> np.ndarray:
        """Return the distances of base forces (n_models, n_rows, 3) from their centre: (n_models, n_rows), eV/Å."""
        return np.linalg.norm(forces - centre(forces, self.weights, self.usual), axis=2)

    def _with_references(self, train: Features, valid: Features) -> tuple[Domain, np.ndarray]:
        """Return the domain with references, and the largest distance in each structure to those of the others."""
        seen, new = surroundings(train.structures, self.table), surroundings(valid.structures, self.table)
        owners = np.repeat(np.arange(len(train)), train.n_atoms)
        references, nearest_seen, nearest_new = {}, np.zeros(len(seen)), np.full(len(new), np.inf)
        for number in self.elements.tolist():
            own, others = train.atomic_numbers == number, valid.atomic_numbers == number
            kept = spread_out(seen[own], MOST_REFERENCES)
            references[number] = seen[own][kept]
            distances = _distances(seen[own], references[number])
            distances[owners[own][:, None] == owners[own][kept]] = np.inf
            nearest_seen[own] = distances.min(axis=1)
            nearest_new[others] = _distances(new[others], references[number]).min(axis=1)
        nearest = np.concatenate([largest_of_each(nearest_seen, train), largest_of_each(nearest_new, valid)])
        return replace(self, references=references), nearest


def conformal_limit(largest: np.ndarray) -> tuple[float, float]:
    """Return a limit that a new value exceeds with a known probability, and this probability.

    `largest` (n,) are values of the same kind.  The probability is `ALARMS`, or 1 / (n + 1) if that is larger; it holds
    on average if all values are drawn alike.  Infinite values, of an element in one structure alone, are left out.
    """
    values = np.sort(largest[np.isfinite(largest)])
    if not len(values):
        return float(np.finfo(np.float32).max), 0.0
    position = min(len(values), int(np.ceil((1 - ALARMS) * (len(values) + 1))))
    limit = max(float(values[position - 1]), float(np.finfo(np.float32).tiny))
    return limit, max(ALARMS, 1.0 / (len(values) + 1))


def largest_of_each(values: np.ndarray, features: Features) -> np.ndarray:
    """Return the largest of the per-atom `values` (n_rows,) in each structure: (n_structures,)."""
    return np.maximum.reduceat(values, features.offsets[:-1]) if len(features) else np.zeros(0)


def spread_to_neighbours(features: Features, score: np.ndarray) -> np.ndarray:
    """Return for each atom the largest `score` (n_rows,), at least 1, of its own and its neighbours: (n_rows,).

    The force on an atom is as uncertain as the energies of its neighbours, so one atom outside counts for all in its
    surroundings.  Neighbours are looked for only in structures with an atom above 1.
    """
    spread = score.copy()
    for index in np.flatnonzero(largest_of_each(score, features) > 1.0).tolist():
        rows = slice(features.offsets[index], features.offsets[index + 1])
        (neighbours, centres), _ = periodic_edges(features.structures[index], CUTOFF)
        np.maximum.at(spread[rows], centres, score[rows][neighbours])
    return spread


def spread_out(points: np.ndarray, most: int) -> np.ndarray:
    """Return the indices of at most `most` points, each the furthest from those before: (n_chosen,) int.

    Parameters
    ----------
    points : (n, n_numbers)
    """
    chosen = [0]
    nearest = ((points - points[0]) ** 2).sum(axis=1)
    while len(chosen) < min(most, len(points)):
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return np.array(chosen)


def _distances(points: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the distances of `points` (n, D) to all `references` (k, D): (n, k)."""
    squared = (points**2).sum(axis=1)[:, None] + (references**2).sum(axis=1) - 2 * points @ references.T
    return np.sqrt(np.maximum(squared, 0))
