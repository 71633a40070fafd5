"""Farthest points: structures one after another, each with the atom that is least like all that is known by then.

A structure is a set of atoms, and a new structure is one with *an atom* that is new.  The mean of the descriptors of a
structure would hide one strange atom among a hundred usual ones, which is the one that a label is needed for.  So the
points are atoms: those of the candidates whose expected error is above the lower bound.  The distance of a structure
from what is known is the largest over these atoms, of the distance to the nearest known atom of the same element.
Known are all atoms of labelled structures, and those of the structures that were chosen before, whose label will tell
the forces on all their atoms.  This is the greedy algorithm for the k-centre problem (Gonzalez, Theor. Comput. Sci. 38,
293 (1985)), on sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from elmlff_core.arrays import row_offsets

BLOCK_ELEMENTS = 2**22  # distances in one block: 16 MB
AT_ONCE = 256  # structures whose distances are brought up to date together
# Single precision moves the distance of equal descriptors by less than this fraction of their length.
ROUNDING = 1e-3
QUANTILE = 0.1  # of the distances between labelled structures, which is the default of the smallest distance
SAMPLE_ROWS = 5000  # labelled atoms from which it is computed
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Points:
    """Atoms of structures as points.

    Attributes
    ----------
    values : (n_rows, D) float32, descriptors
    numbers : (n_rows,) int, atomic numbers; atoms of different elements are infinitely far from each other
    n_atoms : (n_structures,) int
    """

    values: np.ndarray
    numbers: np.ndarray
    n_atoms: np.ndarray
    offsets: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", row_offsets(self.n_atoms))

    @property
    def owners(self) -> np.ndarray:
        """Index of the structure of each row: (n_rows,) int."""
        return np.repeat(np.arange(len(self.n_atoms)), self.n_atoms)

    @property
    def rounding(self) -> float:
        """Distances up to this are zero."""
        return ROUNDING * float(np.sqrt((self.values**2).sum(axis=1).max(initial=0.0)))


def squared_distances(points: np.ndarray, others: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the squared distances of points (n, D) to others (m, D), in blocks: (rows, (n_rows, m)) float32."""
    lengths = (others**2).sum(axis=1)
    size = max(1, BLOCK_ELEMENTS // max(1, len(others)))
    for start in range(0, len(points), size):
        rows = slice(start, start + size)
        block = points[rows]
        found = (-2 * block) @ others.T
        found += (block**2).sum(axis=1)[:, None]
        found += lengths
        yield rows, np.maximum(found, 0, out=found)


def nearest_of(
    points: Points, rows: np.ndarray, known: Points, report: Report = lambda *_: None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance of each of `rows` (n,) of `points` to the nearest known atom of its element, and its row.

    Without one the distance is infinite and the row -1.
    """
    nearest, places = np.full(len(rows), np.inf, np.float32), np.full(len(rows), -1)
    done = 0
    for number in np.unique(points.numbers[rows]).tolist():
        own = np.flatnonzero(points.numbers[rows] == number)
        others = np.flatnonzero(known.numbers == number)
        if len(others):
            for block, squared in squared_distances(points.values[rows[own]], known.values[others]):
                column = squared.argmin(axis=1)
                nearest[own[block]] = np.sqrt(squared[np.arange(len(column)), column])
                places[own[block]] = others[column]
                report(done + min(block.stop, len(own)), len(rows))
        done += len(own)
    return nearest, places


def usual_distance(known: Points) -> float:
    """Return the distance that nine in ten atoms of labelled structures exceed to those of all other structures.

    Zero if there are fewer than two structures.
    """
    if len(known.n_atoms) < 2:
        return 0.0
    owners = known.owners
    rows = np.unique(np.linspace(0, len(owners) - 1, min(SAMPLE_ROWS, len(owners))).round().astype(np.int64))
    found = np.full(len(rows), np.inf, np.float32)
    for number in np.unique(known.numbers[rows]).tolist():
        own, others = np.flatnonzero(known.numbers[rows] == number), np.flatnonzero(known.numbers == number)
        for block, squared in squared_distances(known.values[rows[own]], known.values[others]):
            squared[owners[rows[own[block]]][:, None] == owners[others]] = np.inf
            found[own[block]] = np.sqrt(squared.min(axis=1))
    finite = found[np.isfinite(found)]
    return float(np.quantile(finite, QUANTILE)) if len(finite) else 0.0


@dataclass
class Farthest:
    """Chooses structures.

    Distances only become smaller with each choice.  So the distance of a structure as it was computed some choices ago
    is a bound, and only those structures are brought up to date that are, by this bound, the furthest.

    Attributes
    ----------
    points : atoms of the candidates
    rows : (n,) int, rows of the points that count, ascending; each structure has one at least
    nearest : (n,) distance of each of them to what is known
    errors : (n_structures,) expected errors: of structures equally far away the one with the largest is chosen
    """

    points: Points
    rows: np.ndarray
    nearest: np.ndarray
    errors: np.ndarray
    chosen: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        counts = np.bincount(self.points.owners[self.rows], minlength=len(self.points.n_atoms))
        self.starts = row_offsets(counts)
        self.distances = np.maximum.reduceat(self.nearest, self.starts[:-1])
        self.compared = np.zeros(len(counts), np.int64)  # with how many of the chosen

    def choose(self, number: int, smallest: float, report: Report = lambda *_: None) -> list[tuple[int, float]]:
        """Return at most `number` structures that are further than `smallest` from what is known: index, distance."""
        found: list[tuple[int, float]] = []
        while len(found) < number:
            index = self._furthest()
            distance = float(self.distances[index])
            if not distance > smallest:
                break
            found.append((index, distance))
            self.chosen.append(index)
            self.distances[index], self.compared[index] = -1.0, np.iinfo(np.int64).max
            report(len(found), number)
        return found

    def _furthest(self) -> int:
        while True:
            ties = np.flatnonzero(self.distances == self.distances.max())
            stale = ties[self.compared[ties] < len(self.chosen)]
            if not len(stale):
                return int(ties[np.argmax(self.errors[ties])])
            behind = np.flatnonzero(self.compared < len(self.chosen))
            if len(behind) > AT_ONCE:
                behind = behind[np.argpartition(-self.distances[behind], AT_ONCE)[:AT_ONCE]]
            behind = np.union1d(behind, stale[:AT_ONCE])
            for compared in np.unique(self.compared[behind]).tolist():
                self._update(behind[self.compared[behind] == compared], compared)

    def _update(self, structures: np.ndarray, compared: int) -> None:
        """Compare `structures` with what was chosen after the first `compared`."""
        offsets, numbers, values = self.points.offsets, self.points.numbers, self.points.values
        new = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in self.chosen[compared:]])
        places = np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in structures])
        own = self.rows[places]
        for number in np.unique(numbers[own]).tolist():
            mine, others = np.flatnonzero(numbers[own] == number), new[numbers[new] == number]
            if len(others):
                for block, squared in squared_distances(values[own[mine]], values[others]):
                    at = places[mine[block]]
                    self.nearest[at] = np.minimum(self.nearest[at], np.sqrt(squared.min(axis=1)))
        ends = row_offsets(self.starts[structures + 1] - self.starts[structures])
        self.distances[structures] = np.maximum.reduceat(self.nearest[places], ends[:-1])
        self.compared[structures] = len(self.chosen)
