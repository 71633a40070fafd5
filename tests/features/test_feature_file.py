"""Features come back from their file as they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from elmlff_core.features.feature_file import load_features, save_features
from elmlff_core.testing.meta_model import example_features
from tests.conftest import synthetic_features


def test_everything_meta_models_see_comes_back(tmp_path):
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
