"""Labels as flat arrays: in a dataset, in its features, and in subsets of both."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest
from ase import Atoms

from elmlff_core import arrays
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.structures import Structures
from elmlff_core.errors import DataError
from elmlff_core.testing import example_structures

SIZES = (8, 6, 5, 8, 6, 5)


@pytest.fixture
def structures() -> list[Atoms]:
    return example_structures(["C", "Cu", "H", "O"]) * 2


@pytest.fixture
def forces() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n_atoms, 3)) for n_atoms in SIZES]


@pytest.fixture(params=["energy and stress", "forces alone"])
def dataset(request, structures, forces) -> Dataset:
    if request.param == "forces alone":
        return Dataset.from_lists(structures, forces, source="given")
    rng = np.random.default_rng(1)
    return Dataset.from_lists(structures, forces, list(rng.normal(size=6)), rng.normal(size=(6, 6)), "given")


def features_of(dataset: Dataset) -> Features:
    base = Prediction(dataset.n_atoms, 2 * dataset.forces, dataset.energy, dataset.stress)
    return Features.from_predictions(dataset.structures, {"a": base, "b": base}, dataset)


def assert_labels(found: Prediction, dataset: Dataset, forces: list[np.ndarray], indices: list[int]) -> None:
    assert found.n_atoms.tolist() == [SIZES[index] for index in indices]
    np.testing.assert_array_equal(found.forces, np.concatenate([forces[index] for index in indices]))
    for name in ("energy", "stress"):
        whole, subset = getattr(dataset, name), getattr(found, name)
        assert subset is None if whole is None else np.array_equal(subset, whole[indices])


def test_lists_and_flat_arrays_give_the_same_dataset(structures, forces):
    listed, flat = Dataset.from_lists(structures, forces), Dataset(structures, np.concatenate(forces))
    assert listed.forces.shape == (38, 3)
    assert listed.labels_fingerprint == flat.labels_fingerprint
    for index in range(-6, 6):
        np.testing.assert_array_equal(flat.forces_of(index), forces[index])
    with pytest.raises(IndexError):
        flat.forces_of(6)


def test_forces_of_the_wrong_shape_are_refused(structures, forces):
    with pytest.raises(DataError, match="structure 1 of x has 6 atoms but forces on 5"):
        Dataset.from_lists(structures, [forces[0], forces[2], forces[1], *forces[3:]], source="x")
    with pytest.raises(DataError, match=r"x was given a list of forces, expected .*\(38, 3\).*from_lists takes"):
        Dataset(structures, forces, source="x")
    with pytest.raises(DataError, match=r"a dataset was given forces of shape \(30, 3\)"):
        Dataset(structures, np.concatenate(forces)[:30])


@pytest.mark.parametrize("block_rows", [1, 7, 2**14])
@pytest.mark.parametrize("indices", [[], [4], [5, 0, 0, 3], [0, 1, 2, 3, 4, 5]])
def test_subsets_have_their_labels(monkeypatch, dataset, forces, indices, block_rows):
    monkeypatch.setattr(arrays.blocks, "__defaults__", (block_rows,))
    subset = dataset.subset(indices)
    assert subset.source == "given"
    if indices:
        assert_labels(subset.labels, dataset, forces, indices)
        assert [len(atoms) for atoms in subset.structures] == subset.n_atoms.tolist()
        assert_labels(features_of(dataset).subset(indices).reference, dataset, forces, indices)
        np.testing.assert_array_equal(features_of(dataset).subset(indices).forces[1], 2 * subset.forces)
    else:
        assert subset.forces.shape == (0, 3)
        assert features_of(dataset).subset(indices).forces.shape == (2, 0, 3)


def test_an_index_may_count_from_the_end(dataset, forces):
    assert_labels(dataset.subset([-1, 1]).labels, dataset, forces, [5, 1])
    assert features_of(dataset).rows([-1, 0]).tolist() == [*range(33, 38), *range(8)]


def test_features_share_the_labels_of_the_dataset(dataset):
    reference = features_of(dataset).reference
    for name in ("forces", "energy", "stress"):
        assert getattr(reference, name) is getattr(dataset, name)


def test_blocks_of_features_have_their_labels(dataset, forces):
    features = features_of(dataset)
    found = list(features.blocks(14))
    assert [len(block) for _, block in found] == [2, 2, 2]
    for start, (rows, block) in zip((0, 2, 4), found, strict=True):
        assert_labels(block.reference, dataset, forces, [start, start + 1])
        assert np.shares_memory(block.reference.forces, dataset.forces)
        np.testing.assert_array_equal(block.forces, features.forces[:, rows])
        assert block.atomic_numbers.tolist() == features.atomic_numbers[rows].tolist()


def digest_of_lists(structures, forces, energy, stress) -> tuple[str, str]:
    """Compute both fingerprints by their definition from one array per structure; caches depend on these values."""
    seen = hashlib.sha256()
    for atoms in structures:
        seen.update(np.asarray(atoms.numbers, dtype="<i8").tobytes())
        seen.update(np.asarray(atoms.positions, dtype="<f8").tobytes())
        seen.update(np.asarray(atoms.cell.array, dtype="<f8").tobytes())
        seen.update(np.asarray(atoms.pbc, dtype="?").tobytes())
    learnt = hashlib.sha256(seen.hexdigest().encode())
    for array in (*forces, energy, stress):
        if array is not None:
            learnt.update(np.asarray(array, dtype="<f8").tobytes())
    return seen.hexdigest(), learnt.hexdigest()


@pytest.mark.parametrize("block_rows", [1, 7, 2**14])
def test_fingerprints_follow_their_definition(monkeypatch, dataset, structures, forces, block_rows):
    monkeypatch.setattr("elmlff_core.contracts.dataset.BLOCK_ROWS", block_rows)
    for kept in (dataset.structures, Structures.of(structures)):
        same = Dataset(kept, dataset.forces, dataset.energy, dataset.stress)
        expected = digest_of_lists(structures, forces, dataset.energy, dataset.stress)
        assert (same.fingerprint, same.labels_fingerprint) == expected
    indices = [5, 2, 2]
    picked = [None if array is None else array[indices] for array in (dataset.energy, dataset.stress)]
    expected = digest_of_lists([structures[index] for index in indices], [forces[index] for index in indices], *picked)
    found = dataset.subset(indices)
    assert (found.fingerprint, found.labels_fingerprint) == expected


def test_fingerprints_of_one_dataset():
    """Fingerprints are the same on every machine and in every version, because caches depend on them."""
    atoms = Atoms("CO", [[0, 0, 0], [0, 0, 1.125]], cell=[4, 5, 6], pbc=[True, False, True])
    dataset = Dataset.from_lists([atoms, atoms[[1]]], [np.eye(3)[:2], np.ones((1, 3))], [-1.5, 2.0], np.eye(6)[:2])
    assert dataset.fingerprint == "d06a368ea14a112408c5c8ad252fe24425c5a952e117b37f7cb4ec96098f258c"
    assert dataset.labels_fingerprint == "7043b7505f750e2535628aa08c5d27e3a847beca31af4d7e7f71fd96fbe036f9"


def test_subsets_need_little_memory(tmp_path, monkeypatch):
    """Large labels are in files, which do not count as memory; a subset needs the memory of one block."""
    monkeypatch.setattr(arrays, "MEMORY_BYTES", 2**20)
    atoms = example_structures(["Cu"])[0]
    structures = Structures.of([atoms] * 20_000)  # 160,000 atoms
    dataset = Dataset(structures, np.ones((160_000, 3)))
    indices = np.random.default_rng(0).permutation(20_000)
    dataset.labels_fingerprint  # noqa: B018  # fills the cached properties
    tracemalloc.start()
    subset = dataset.subset(indices)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert subset.forces.sum() == 480_000
    assert peak < 0.6 * dataset.forces.nbytes
