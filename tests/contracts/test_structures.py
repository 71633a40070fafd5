"""Sequences of structures that are stored as flat arrays."""

from __future__ import annotations

import numpy as np
import pytest

from elmlff_core.contracts.structures import Structures, atomic_numbers_of, flat_structures, n_atoms_of, subset_of
from elmlff_core.testing import example_structures


@pytest.fixture
def given():
    return example_structures(["C", "Cu", "H", "O"])


def test_structures_are_returned_unchanged(given):
    found = Structures.of(iter(given))
    assert len(found) == len(given)
    assert all(one == other for one, other in zip(found, given, strict=True))
    assert found[-1] == given[-1]
    with pytest.raises(IndexError):
        found[len(given)]


def test_changing_a_returned_structure_does_not_change_the_sequence(given):
    found = Structures.of(given)
    found[0].positions += 1.0
    found[0].numbers[:] = 1
    assert found[0] == given[0]


@pytest.mark.parametrize("n_structures", [1, 3])
def test_given_structures_are_copied(given, n_structures):
    same = given[0].copy()

    def moving():
        for _ in range(n_structures):
            yield same
            same.positions += 1.0

    found = Structures.of(moving())
    for step, atoms in enumerate(found):
        np.testing.assert_allclose(atoms.positions, given[0].positions + step)


def test_slices_and_subsets_are_sequences_of_the_same_kind(given):
    found = Structures.of(given)
    assert list(found[1:]) == given[1:]
    assert list(found[::-2]) == given[::-2]
    assert list(found[1:].subset([1, 0, 1])) == [given[2], given[1], given[2]]
    np.testing.assert_array_equal(found[1:].n_atoms, [len(atoms) for atoms in given[1:]])


def test_functions_accept_any_sequence(given):
    for structures in (given, Structures.of(given)):
        np.testing.assert_array_equal(n_atoms_of(structures), [len(atoms) for atoms in given])
        assert list(subset_of(structures, np.array([2, 0]))) == [given[2], given[0]]
        assert atomic_numbers_of(structures).tolist() == [number for atoms in given for number in atoms.numbers]


def test_flat_structures_hold_only_their_own_arrays(given):
    whole = Structures.of(given)
    assert flat_structures(whole) is whole
    for some, expected in (
        (given, given),
        (whole[1:], given[1:]),
        (whole.subset([2, 0, 2]), [given[i] for i in (2, 0, 2)]),
    ):
        flat = flat_structures(some)
        assert list(flat) == expected
        assert flat.positions.tolist() == np.concatenate([atoms.positions for atoms in expected]).tolist()
        assert flat.numbers.tolist() == atomic_numbers_of(some).tolist()
        assert flat.cells.shape == (len(expected), 3, 3)


def test_structures_from_arrays_share_them(given):
    whole = Structures.of(given)
    same = Structures.from_arrays(whole.n_atoms, whole.numbers, whole.positions, whole.cells, whole.pbc)
    assert list(same) == given
    assert same.positions is whole.positions
