"""Predictions on a GPU: the same numbers as on the CPU, up to rounding in single precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elmlff_core.contracts.protocols import FitRequest, RunsOnDevice
from elmlff_core.errors import ConfigError
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.testing.meta_model import example_features

SMALL = {"width": 8, "layers": 2, "heads": 2}


def fitted(name, folder):
    features = example_features(12)
    meta = make_meta(name, SMALL if name != "gat" else {"channels": [4, 4], "heads": 2, "averaged_layers": 1})
    training = TrainingConfig(epochs=2, batch_size=4, learning_rate=1e-2, loss="norm", energy_weight=0.0)
    meta.fit(FitRequest(features, features, training, folder, 0, lambda _: None))
    return meta, features


@pytest.mark.parametrize("name", ["gat", "egat", "conservative"])
def test_devices_give_the_same(name, tmp_path):
    meta, features = fitted(name, tmp_path)
    assert isinstance(meta, RunsOnDevice)
    alone = meta.predict(features).forces
    meta.to("auto")
    assert next(meta.network.parameters()).device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    found = meta.predict(features).forces
    assert np.abs(alone).max() > 0.1
    assert np.allclose(found, alone, atol=1e-4 * np.abs(alone).max())
    meta.to("cpu")
    assert np.array_equal(meta.predict(features).forces, alone)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path):
    meta, _ = fitted("egat", tmp_path)
    with pytest.raises(ConfigError, match="finds no CUDA GPU"):
        meta.to("cuda")
