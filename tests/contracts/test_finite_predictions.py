"""Predictions that no error could be computed from are refused: of base models and of meta-models."""

from __future__ import annotations

import numpy as np
import pytest

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import ForceFieldError
from tests.conftest import synthetic_features


@pytest.mark.parametrize(("value", "wrong"), [(np.nan, "non-finite"), (-np.inf, "non-finite"), (-1e200, "huge")])
def test_a_meta_model_that_diverges_is_said(value: float, wrong: str) -> None:
    features = synthetic_features(8)

    def diverging(block: Features) -> Prediction:
        forces = np.zeros((len(block.atomic_numbers), 3))
        forces[7, 1] = value  # methane has five atoms
        return Prediction(block.n_atoms, forces)

    with pytest.raises(ForceFieldError, match=f"'the meta-model' returned a {wrong} forces for atom 2 of structure 1"):
        in_blocks(features, diverging)


def test_squares_of_what_passes_are_finite() -> None:
    prediction = Prediction(np.array([2]), np.full((2, 3), -1e30), np.array([1e30]))
    assert prediction.finite("m") is prediction
    assert np.isfinite((prediction.forces**2).sum())
