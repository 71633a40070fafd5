"""DescriptorComponents: their variance, elements, several base models, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from elmlff_core.contracts.features import Features
from elmlff_core.errors import ElmlffError
from elmlff_core.features.descriptor_components import DescriptorComponents
from tests.conftest import synthetic_features


def described(n_structures: int = 30, seed: int = 0) -> Features:
    """Describe atoms by 5 numbers of one base model and 3 of another; carbon has other means than hydrogen."""
    features = synthetic_features(n_structures, n_models=3)
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(len(features.atomic_numbers), 2))
    numbers = np.concatenate([hidden, hidden @ rng.normal(size=(2, 6))], axis=1) + features.atomic_numbers[:, None]
    numbers = numbers.astype(np.float32)
    return replace(features, descriptors={"m2": numbers[:, 5:], "m0": numbers[:, :5]})


def test_components_have_variance_one_and_no_element_is_told_by_them() -> None:
    features = described()
    found = DescriptorComponents.fit(features, 2).of(features)
    assert found.dtype == np.float32
    assert np.cov(found, rowvar=False) == pytest.approx(np.eye(2), abs=0.02)
    for number in features.elements:
        assert found[features.atomic_numbers == number].mean(axis=0) == pytest.approx(np.zeros(2), abs=1e-3)


def test_what_varies_together_is_in_the_same_components() -> None:
    """Eight numbers follow from two: two components of the six others have all that is in them."""
    features = described()
    found = DescriptorComponents.fit(features, 2).of(features)
    element = features.atomic_numbers == 6
    first = features.descriptors["m0"][:, 0] - np.where(
        element, features.descriptors["m0"][element, 0].mean(), features.descriptors["m0"][~element, 0].mean()
    )
    left = first - found @ np.linalg.lstsq(found, first, rcond=None)[0]
    assert np.abs(left).max() < 1e-3


def test_there_are_no_more_components_than_vary() -> None:
    """Eight numbers follow from two, and rounding in single precision is no variance."""
    assert DescriptorComponents.fit(described(), 100).of(described()).shape[1] == 2
    one = described(1)
    numbers = np.arange(5, dtype=np.float32)[:, None]
    alone = replace(one, descriptors={"m0": np.concatenate([numbers, np.ones_like(numbers)], axis=1)})
    components = DescriptorComponents.fit(alone, 16)
    assert components.axes.shape == (2, 1)
    moved = replace(one, descriptors={"m0": alone.descriptors["m0"] + np.float32([0, 0.1])})
    np.testing.assert_allclose(components.of(moved), components.of(alone), atol=1e-6)
    same = replace(one, descriptors={"m0": np.ones((5, 1), np.float32)})
    assert DescriptorComponents.fit(same, 16).of(same).shape == (5, 0)


def test_an_atom_that_is_unlike_all_others_has_no_larger_ones() -> None:
    features = described()
    components = DescriptorComponents.fit(features, 2)
    far = replace(features, descriptors={name: 1e6 * one for name, one in features.descriptors.items()})
    assert np.abs(components.of(far)).max() == pytest.approx(np.abs(components.of(features)).max())


def test_an_element_outside_the_sample_has_its_own_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    features = described()
    whole = DescriptorComponents.fit(features, 2).means
    monkeypatch.setattr("elmlff_core.features.descriptor_components.MOST_ROWS", 10)
    np.testing.assert_allclose(DescriptorComponents.fit(features, 2).means, whole)


def test_they_are_the_same_from_tensors_in_parts_and_without_other_base_models() -> None:
    features = described()
    components = DescriptorComponents.fit(features, 3)
    again = DescriptorComponents.from_tensors(components.tensors())
    assert again is not None
    whole = components.of(features)
    np.testing.assert_array_equal(again.of(features.subset([4, 2])), whole[features.rows([4, 2])])
    np.testing.assert_array_equal(components.of(features.of_models(["m0", "m2"])), whole)
    assert DescriptorComponents.from_tensors({}) is None


def test_other_descriptors_than_in_training_are_refused() -> None:
    components = DescriptorComponents.fit(described(), 3)
    with pytest.raises(ElmlffError, match="learnt from 8 numbers that describe an atom, and gets 3 of m2"):
        components.of(described().of_models(["m1", "m2"]))
