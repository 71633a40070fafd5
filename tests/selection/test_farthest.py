"""Farthest points: the lazy search chooses what the plain one does, and sees one strange atom among many usual ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from elmlff_core.selection.descriptors import Components
from elmlff_core.selection.farthest import Farthest, Points, nearest_of, usual_distance


def points(rng: np.random.Generator, n_structures: int, scale: float = 1.0) -> Points:
    """Make structures of 3 to 9 atoms of two elements, with six numbers for each atom."""
    n_atoms = rng.integers(3, 10, n_structures)
    return Points(
        scale * rng.normal(size=(n_atoms.sum(), 6)).astype(np.float32), rng.choice([1, 6], n_atoms.sum()), n_atoms
    )


def distances(first: Points, second: Points) -> np.ndarray:
    """Return all distances; infinite between elements."""
    found = cdist(first.values, second.values)
    found[first.numbers[:, None] != second.numbers[None]] = np.inf
    return found


def plain_choice(candidates: Points, rows: np.ndarray, known: Points, number: int) -> list[int]:
    """Choose as the definition says: compare everything with everything after each choice."""
    among = distances(candidates, candidates)
    nearest = distances(candidates, known).min(axis=1, initial=np.inf)
    chosen: list[int] = []
    for _ in range(number):
        worst = np.full(len(candidates.n_atoms), -1.0)
        np.maximum.at(worst, candidates.owners[rows], nearest[rows])
        worst[chosen] = -1
        chosen.append(int(worst.argmax()))
        nearest = np.minimum(nearest, among[:, candidates.owners == chosen[-1]].min(axis=1))
    return chosen


@pytest.mark.parametrize("n_candidates", [40, 500])  # more than are brought up to date at once
def test_the_lazy_search_chooses_what_the_plain_one_does(n_candidates: int) -> None:
    rng = np.random.default_rng(n_candidates)
    candidates, known = points(rng, n_candidates), points(rng, 30, 0.5)
    rows = np.union1d(np.flatnonzero(rng.random(len(candidates.values)) < 0.4), candidates.offsets[:-1])
    nearest, places = nearest_of(candidates, rows, known)
    expected = distances(candidates, known)[rows]
    assert np.allclose(nearest, expected.min(axis=1), atol=1e-3)
    assert np.array_equal(places, expected.argmin(axis=1))
    search = Farthest(candidates, rows, nearest, np.zeros(n_candidates))
    found = search.choose(25, 0.0)
    assert [index for index, _ in found] == plain_choice(candidates, rows, known, 25)
    assert np.all(np.diff([distance for _, distance in found]) <= 1e-3)


def test_one_strange_atom_counts_and_a_known_one_does_not() -> None:
    usual = np.tile(np.arange(20.0)[:, None], (1, 4)).astype(np.float32)
    strange, shifted = usual.copy(), usual + 0.3
    strange[7] = 60.0
    candidates = Points(np.concatenate([usual, shifted, strange]), np.full(60, 6), np.full(3, 20))
    known = Points(usual, np.full(20, 6), np.array([20]))
    nearest, _ = nearest_of(candidates, np.arange(60), known)
    found = Farthest(candidates, np.arange(60), nearest, np.zeros(3)).choose(3, 0.1)
    assert found[0][0] == 2
    assert [index for index, _ in found] == [2, 1]  # the first is the same as what is known


def test_of_structures_that_nothing_is_known_of_the_most_uncertain_comes_first() -> None:
    candidates = points(np.random.default_rng(0), 20)
    rows = np.arange(len(candidates.values))
    nothing = Points(candidates.values[:0], candidates.numbers[:0], candidates.n_atoms[:0])
    nearest, places = nearest_of(candidates, rows, nothing)
    assert np.isinf(nearest).all()
    assert (places == -1).all()
    errors = np.linspace(0, 1, 20)
    errors[4] = 3.0
    assert Farthest(candidates, rows, nearest, errors).choose(1, 0.0)[0][0] == 4


def test_copies_are_chosen_once_even_far_away_from_all_others() -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(size=(30, 8)), np.full((6, 8), 1e4) + np.arange(3).repeat(2)[:, None] * 100])
    candidates = Points(values.astype(np.float32), np.full(36, 1), np.full(36, 1))
    rows = np.arange(36)
    known = Points(values[:5].astype(np.float32), np.full(5, 1), np.full(5, 1))
    nearest, _ = nearest_of(candidates, rows, known)
    chosen = [i for i, _ in Farthest(candidates, rows, nearest, np.zeros(36)).choose(36, candidates.rounding)]
    assert sorted(index // 2 for index in chosen if index >= 30) == [15, 16, 17]


def test_the_usual_distance_leaves_a_tenth_of_the_atoms_nearer() -> None:
    known = points(np.random.default_rng(2), 60)
    among = distances(known, known)
    among[known.owners[:, None] == known.owners[None]] = np.inf
    assert (among.min(axis=1) < usual_distance(known)).mean() == pytest.approx(0.1, abs=0.01)
    assert usual_distance(Points(known.values[:3], known.numbers[:3], np.array([3]))) == 0


def test_components_keep_distances_and_what_is_unlike_them() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 40))
    components = Components.fit(rows)
    found = components.of(rows).astype(float)
    assert found.shape == (500, 4)
    expected = np.linalg.norm(rows[:100, None] - rows[None, 100:200], axis=2)
    assert np.allclose(np.linalg.norm(found[:100, None] - found[None, 100:200], axis=2), expected, rtol=0.05, atol=0.1)
    unlike = rows[:1] + 50 * np.eye(40)[:1]
    assert np.linalg.norm(components.of(unlike) - components.of(rows[:1])) > 45
