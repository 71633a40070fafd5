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


def test_there_are_no_more_components_than_numbers() -> None:
    assert DescriptorComponents.fit(described(), 100).of(described()).shape[1] == 8


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
    with pytest.raises(ElmlffError, match="gave 3 numbers to describe an atom, and 8 in training"):
        components.of(described().of_models(["m1", "m2"]))
