"""Split quality: distances of test structures to the nearest training structure.

A frame of a trajectory is similar to the frames next to it.  If a split puts neighbouring frames into different splits,
the test error measures interpolation between two frames, and says little about unseen structures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from elmlff_core.contracts.structures import subset_of
from elmlff_core.data.structure_distance import SameAtoms, distances, key, paired_distances

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Largest number of pairs of structures times atoms; it takes seconds on one core.  A free molecule costs as much as 200
# atoms because of the superposition, a small cell as much as 20.  Above this number, only every second (third, ...)
# structure is compared.
MAX_WORK = 4e8
SUPERPOSITION_ATOMS, LEAST_ATOMS = 200, 20
N_PAIRS = 1000
# Structures are frames of a trajectory if consecutive ones are less than half as far apart as random pairs.
TRAJECTORY = 0.5
STEP = 1.25  # times the median distance of consecutive frames, as this distance varies along a trajectory
# If the order is not that of a trajectory: a tenth of the distance of random pairs.  Independent samples of the thermal
# motion of a molecule are further apart than this in sets of a few thousand.
NEAR = 0.1
MANY = 0.1  # fraction of near-duplicates among test structures above which advice is given


@dataclass(frozen=True)
class SplitQuality:
    """Distances between structures in Å, RMSD of positions (see `elmlff_core.data.structure_distance`).

    Attributes
    ----------
    n_test : number of test structures
    n_comparable : number of test structures with a training structure of the same atoms in the same order
    n_compared : number of test structures that were compared, evenly spaced if all would take too long
    test_to_train : quantile -> distance of a test structure to the nearest training structure
    train_to_train : quantile -> distance of a training structure to the nearest other training structure
    random_pairs : median distance of random pairs of training structures, or None if there are no pairs
    consecutive : median distance of training structures that are consecutive in the dataset, or None
    is_trajectory : whether `consecutive` is less than half of `random_pairs`
    near_duplicate_distance : distance below which a structure is a near-duplicate: in a trajectory 1.25 times
        `consecutive`, otherwise a tenth of `random_pairs`
    near_duplicate_fraction : fraction of near-duplicates among the compared test structures
    """

    n_test: int
    n_comparable: int
    n_compared: int
    test_to_train: dict[str, float]
    train_to_train: dict[str, float]
    random_pairs: float | None
    consecutive: float | None
    is_trajectory: bool
    near_duplicate_distance: float | None
    near_duplicate_fraction: float | None

    @property
    def is_bad(self) -> bool:
        """Whether more than a tenth of the test structures are near-duplicates."""
        return self.near_duplicate_fraction is not None and self.near_duplicate_fraction > MANY

    def statement(self, split: str | None = None) -> str:
        """Return the quality in words; `split` is how test structures were chosen (`SplitMethod`), if known."""
        missing = self.n_test - self.n_comparable
        opening = (
            f"{missing} of {self.n_test} test structures have no training structure of the same atoms in the same "
        )
        opening = f"{opening}order and cannot be compared. " if missing else ""
        if self.near_duplicate_fraction is None or self.near_duplicate_distance is None:
            return f"{opening}No test structure can be compared with training structures."
        measure = "1.25 times the median distance of consecutive training frames"
        if not self.is_trajectory:
            measure = "a tenth of the median distance of random pairs"
        found = (
            f"{opening}{100 * self.near_duplicate_fraction:.0f} % of the test structures are near-duplicates: their "
            f"distance to a training structure is below {self.near_duplicate_distance:.3g} Å ({measure})."
        )
        if not self.is_bad:
            return found
        if not self.is_trajectory:
            advice = (
                "The dataset is not in the order of a trajectory, so a split by order cannot separate them: use "
                "--split clusters, or test on an independent trajectory."
            )
        elif split in ("blocks", "clusters"):
            advice = "The trajectory returns to earlier structures: test on an independent trajectory."
        elif split == "random":
            advice = "Use --split blocks, or test on an independent trajectory."
        else:
            advice = "Use --split blocks on one trajectory, or test on an independent trajectory."
        return f"{found} The test error then measures interpolation between training structures. {advice}"


def split_quality(train: Sequence[Atoms], test: Sequence[Atoms], train_index: np.ndarray | None = None) -> SplitQuality:
    """Compare test structures with training structures.

    Parameters
    ----------
    train, test : structures
    train_index : (n_train,) int, indices of the training structures in their dataset, or None if unknown
    """
    train_places, test_places = _by_key(train), _by_key(test)
    groups = {
        name: (SameAtoms.of(subset_of(train, places)), SameAtoms.of(subset_of(test, test_places[name])))
        for name, places in train_places.items()
        if name in test_places
    }
    outside = np.concatenate([np.zeros(0), *_nearest([(test_, train_) for train_, test_ in groups.values()])])
    others = [SameAtoms.of(subset_of(train, places)) for places in train_places.values() if len(places) > 1]
    inside = np.concatenate([np.zeros(0), *_nearest([(group, group) for group in others], itself=True)])
    random_pairs, steps = _median_random(others), _consecutive(train, train_index)
    consecutive = float(np.median(steps)) if len(steps) else None
    is_trajectory = consecutive is not None and random_pairs is not None and consecutive < TRAJECTORY * random_pairs
    near = None if random_pairs is None else NEAR * random_pairs
    if consecutive is not None and is_trajectory:
        near = STEP * consecutive
    return SplitQuality(
        n_test=len(test),
        n_comparable=sum(len(test_places[name]) for name in groups),
        n_compared=len(outside),
        test_to_train=_quantiles(outside),
        train_to_train=_quantiles(inside),
        random_pairs=random_pairs,
        consecutive=consecutive,
        is_trajectory=is_trajectory,
        near_duplicate_distance=near,
        near_duplicate_fraction=None if near is None or not len(outside) else float((outside < near).mean()),
    )


def _by_key(structures: Sequence[Atoms]) -> dict[tuple[bytes, bytes], list[int]]:
    places = defaultdict(list)
    for index, atoms in enumerate(structures):
        places[key(atoms)].append(index)
    return places


def _nearest(groups: Sequence[tuple[SameAtoms, SameAtoms]], itself: bool = False) -> list[np.ndarray]:
    """Return, for each pair of groups, the distance of each structure of the first to the nearest of the second.

    `itself` ignores the structure with the same index, for the distances within one group.
    """
    work = 0
    for first, second in groups:
        n_atoms = max(first.n_atoms, LEAST_ATOMS) if first.periodic.any() else SUPERPOSITION_ATOMS
        work += len(first) * len(second) * n_atoms
    step = max(1, int(np.ceil(work / MAX_WORK)))
    found = []
    for first, second in groups:
        places = np.arange(0, len(first), step)
        nearest = np.empty(len(places))
        for rows, block in distances(first[places], second):
            if itself:
                block[np.arange(len(block)), places[rows]] = np.inf
            nearest[rows] = block.min(axis=1)
        found.append(nearest)
    return found


def _median_random(groups: Sequence[SameAtoms]) -> float | None:
    """Return the median distance of random pairs of different structures, or None if there are no pairs."""
    rng = np.random.default_rng(0)
    total = sum(len(group) for group in groups)
    found = []
    for group in groups:
        first = rng.integers(len(group), size=max(1, N_PAIRS * len(group) // total))
        second = (first + rng.integers(1, len(group), size=len(first))) % len(group)
        found.append(paired_distances(group[first], group[second]))
    return float(np.median(np.concatenate(found))) if found else None


def _consecutive(train: Sequence[Atoms], train_index: np.ndarray | None) -> np.ndarray:
    """Return distances of training structures that are consecutive in the dataset; empty if fewer than ten pairs."""
    if train_index is None:
        return np.zeros(0)
    place = {int(index): i for i, index in enumerate(train_index)}
    pairs = [(i, place[index + 1]) for index, i in place.items() if index + 1 in place]
    pairs = [(i, j) for i, j in pairs if key(train[i]) == key(train[j])]
    pairs = pairs[:: max(1, len(pairs) // N_PAIRS)]
    if len(pairs) < 10:
        return np.zeros(0)
    return np.array([paired_distances(SameAtoms.of([train[i]]), SameAtoms.of([train[j]]))[0] for i, j in pairs])


def _quantiles(values: np.ndarray) -> dict[str, float]:
    """Return quantile, as text for JSON, -> value; empty if there are no values."""
    return {f"{level:g}": float(np.quantile(values, level)) for level in QUANTILES} if len(values) else {}
