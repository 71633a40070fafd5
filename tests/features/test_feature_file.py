"""Features are unchanged after they were written to a file and read again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.structures import Structures
from elmlff_core.errors import ElmlffError
from elmlff_core.features.feature_file import load_features, save_features
from elmlff_core.testing import example_structures
from elmlff_core.testing.meta_model import example_features
from tests.conftest import synthetic_features


def test_features_are_written_and_read(tmp_path):
    features = example_features(5)
    features = replace(features, stresses={"noisy": np.arange(30.0).reshape(5, 6)}, source="där")
    features.structures[2].pbc = (True, False, True)
    save_features(features, tmp_path / "f.safetensors")
    loaded = load_features(tmp_path / "f.safetensors")
    assert (loaded.models, loaded.source) == (features.models, "där")
    assert np.array_equal(loaded.forces, features.forces)
    assert np.array_equal(loaded.reference_forces, features.reference_forces)
    assert np.array_equal(loaded.reference.energy, features.reference.energy)
    assert {name: list(values) for name, values in loaded.energies.items()} == {
        name: list(values) for name, values in features.energies.items()
    }
    assert np.array_equal(loaded.stresses["noisy"], features.stresses["noisy"])
    for mine, theirs in zip(loaded.structures, features.structures, strict=True):
        assert mine == theirs  # numbers, positions, cell and periodicity
    assert [path.name for path in tmp_path.iterdir()] == ["f.safetensors"]


def test_structures_of_different_sizes_without_labels(tmp_path):
    small, large = synthetic_features(3), synthetic_features(2, symbols="C2H6")
    features = replace(
        small,
        structures=[*small.structures, *large.structures],
        forces=np.concatenate([small.forces, large.forces], axis=1),
        energies={},
        reference=None,
    )
    save_features(features, tmp_path / "f.safetensors")
    loaded = load_features(tmp_path / "f.safetensors")
    assert loaded.n_atoms.tolist() == [5, 5, 5, 8, 8]
    assert loaded.reference is None
    assert loaded.energies == loaded.stresses == {}
    assert np.array_equal(loaded.structures[4].positions, large.structures[1].positions)


@pytest.mark.parametrize("flat", [False, True])
def test_some_of_many_structures_with_stress_labels(tmp_path, flat):
    structures = example_structures(["C", "Cu", "O"]) * 3
    n_rows, rng = sum(map(len, structures)), np.random.default_rng(0)
    given = Structures.of(structures) if flat else structures
    dataset = Dataset(given, rng.normal(size=(n_rows, 3)), stress=rng.normal(size=(9, 6))).subset([7, 2, 0])
    base = Prediction(dataset.n_atoms, 2 * dataset.forces)
    save_features(Features.from_predictions(dataset.structures, {"a": base}, dataset), tmp_path / "f.safetensors")
    loaded = load_features(tmp_path / "f.safetensors")
    assert isinstance(loaded.structures, Structures)
    assert list(loaded.structures) == [structures[index] for index in (7, 2, 0)]
    assert loaded.reference.energy is None
    np.testing.assert_array_equal(loaded.reference.stress, dataset.stress)
    np.testing.assert_array_equal(loaded.reference.forces, dataset.forces)
    np.testing.assert_array_equal(loaded.forces[0], 2 * dataset.forces)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(ElmlffError, match=r"cannot write .*gone"):
        save_features(synthetic_features(2), tmp_path / "gone" / "f.safetensors")
