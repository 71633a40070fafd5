"""Distances between structures, and the quality of a split."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from scipy.spatial.transform import Rotation

from elmlff_core.data.structure_distance import SameAtoms, distances
from elmlff_core.evaluation import split_quality as module
from elmlff_core.evaluation.split_quality import split_quality

SKEWED = np.array([[4.0, 0, 0], [1.0, 5, 0], [0.5, -0.7, 6]])


def all_distances(first: list[Atoms], second: list[Atoms]) -> np.ndarray:
    blocks = distances(SameAtoms.of(first), SameAtoms.of(second))
    return np.concatenate([block for _, block in blocks])


def rotated(atoms: Atoms, seed: int) -> Atoms:
    copy = atoms.copy()
    copy.positions = atoms.positions @ Rotation.random(random_state=seed).as_matrix().T + [3.0, -1.0, 7.0]
    return copy


@pytest.mark.parametrize("name", ["CH3CH2OH", "C2H2", "C6H6", "O2"])  # general, linear, planar, two atoms
def test_rotated_copies_of_a_molecule_have_zero_distance(name):
    atoms = molecule(name)
    copies = [rotated(atoms, seed) for seed in range(5)]
    assert all_distances([atoms], copies) == pytest.approx(np.zeros((1, 5)), abs=1e-6)


def test_the_distance_of_mirror_images_is_that_of_the_best_superposition():
    chiral = Atoms("CHFClBr", [[0, 0, 0], [0, 0, 1.1], [1.3, 0, -0.4], [-0.8, 1.5, -0.5], [-0.9, -1.6, -0.6]])
    mirrored = chiral.copy()
    mirrored.positions[:, 1] *= -1
    found = all_distances([chiral], [mirrored])[0, 0]
    first, second = (atoms.positions - atoms.positions.mean(axis=0) for atoms in (chiral, mirrored))
    _, rssd = Rotation.align_vectors(first, second)  # SciPy's superposition, only proper rotations
    assert found == pytest.approx(rssd / np.sqrt(5))
    assert found > 0.1


def test_periodic_distances_against_all_images():
    rng = np.random.default_rng(0)
    atoms = Atoms("Cu3O2", scaled_positions=rng.random((5, 3)), cell=SKEWED, pbc=True)
    others = []
    for _ in range(6):
        other = atoms.copy()
        other.positions += rng.normal(scale=0.2, size=(5, 3)) + rng.normal(
            scale=5, size=3
        )  # also shifts the whole structure
        other.wrap()
        others.append(other)
    shifts = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3))) @ SKEWED
    for other, found in zip(others, all_distances([atoms], others)[0], strict=True):
        moved = other.positions - atoms.positions
        moved = moved - moved[0]
        images = moved[:, None] + shifts  # (n_atoms, n_images, 3)
        nearest = images[np.arange(5), (images**2).sum(axis=2).argmin(axis=1)]
        nearest -= nearest.mean(axis=0)
        assert found == pytest.approx(np.sqrt((nearest**2).sum() / 5), rel=1e-4)


def test_strained_cells_have_a_distance():
    atoms = Atoms("Cu", cell=np.eye(3) * 4.0, pbc=True)
    strained = Atoms("Cu", cell=np.diag([4.0, 4.0, 4.3]), pbc=True)
    assert all_distances([atoms], [strained])[0, 0] == pytest.approx(0.3)


def walk(n_structures: int, seed: int, step: float = 0.05) -> list[Atoms]:
    """A trajectory that does not return: a random walk of 8 atoms in a box."""
    rng = np.random.default_rng(seed)
    paths = rng.random((1, 8, 3)) * 8 + np.cumsum(rng.normal(scale=step, size=(n_structures, 8, 3)), axis=0)
    return [Atoms("Cu8", positions=path, cell=[8.0] * 3, pbc=True) for path in paths]


def test_nearest_distances_against_brute_force():
    train, test = walk(40, 0), walk(7, 1)
    quality = split_quality(train, [*test, Atoms("Cu7", cell=[8.0] * 3, pbc=True)])
    table = np.array([[all_distances([a], [b])[0, 0] for b in train] for a in test])
    within = np.array([[all_distances([a], [b])[0, 0] for b in train] for a in train])
    np.fill_diagonal(within, np.inf)
    assert quality.test_to_train["0.5"] == pytest.approx(np.quantile(table.min(axis=1), 0.5), rel=1e-5)
    assert quality.train_to_train["0.95"] == pytest.approx(np.quantile(within.min(axis=1), 0.95), rel=1e-5)
    assert (quality.n_test, quality.n_comparable, quality.consecutive) == (8, 7, None)
    assert quality.statement().startswith("1 of 8 test structures have no training structure of the same atoms")


def test_only_a_random_split_of_a_trajectory_has_near_duplicates():
    frames = walk(400, 0)
    random_test = np.random.default_rng(0).permutation(400)[:80]
    for test_index, split, near in ((random_test, "random", True), (np.arange(320, 400), "blocks", False)):
        train_index = np.setdiff1d(np.arange(400), test_index)
        quality = split_quality([frames[i] for i in train_index], [frames[i] for i in test_index], train_index)
        assert quality.is_trajectory
        assert (quality.near_duplicate_fraction > 0.9) == near
        assert ("--split blocks" in quality.statement(split)) == near


def test_blocks_do_not_separate_near_duplicates_of_shuffled_frames():
    rng = np.random.default_rng(0)
    frames = [frame for seed in range(20) for frame in walk(30, seed, step=0.01)]
    frames = [frames[i] for i in rng.permutation(len(frames))]
    index = np.arange(480)
    quality = split_quality(frames[:480], frames[480:], index)
    assert not quality.is_trajectory
    assert quality.near_duplicate_fraction > 0.9
    assert "not in the order of a trajectory" in quality.statement("blocks")


def test_independent_structures_are_not_near_duplicates():
    rng = np.random.default_rng(0)
    atoms = molecule("CH3OH")
    samples = [Atoms(atoms.numbers, atoms.positions + rng.normal(scale=0.1, size=(6, 3))) for _ in range(300)]
    quality = split_quality(samples[:250], samples[250:], np.arange(250))
    assert quality.near_duplicate_fraction == 0
    assert "--split" not in quality.statement("random")


def test_large_sets_are_thinned(monkeypatch):
    train, test = walk(60, 0), walk(30, 1)
    whole = split_quality(train, test)
    monkeypatch.setattr(module, "MAX_WORK", 60 * 30 * module.LEAST_ATOMS / 2)
    thinned = split_quality(train, test)
    assert (whole.n_compared, thinned.n_compared) == (30, 15)
    assert thinned.test_to_train["0.5"] == pytest.approx(whole.test_to_train["0.5"], rel=0.3)
