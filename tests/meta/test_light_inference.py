"""A saved meta-model is loaded and predicts without importing packages for training and plots."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.features.feature_file import save_features
from elmlff_core.meta.conservative import ConservativeMeta
from elmlff_core.meta.egat import EGATMeta
from elmlff_core.meta.gat import GATMeta
from elmlff_core.meta.options import ConservativeOptions, EGATOptions, GATOptions
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.testing.meta_model import example_features

METAS = {
    "gat": GATMeta(GATOptions(channels=(4, 4), heads=2, averaged_layers=1)),
    "egat": EGATMeta(EGATOptions(width=8, layers=1, heads=2)),
    "conservative": ConservativeMeta(ConservativeOptions(width=8, layers=1, heads=2)),
}
CODE = """
import sys
import numpy as np
from pathlib import Path
from elmlff_core.features.feature_file import load_features
from elmlff_core.meta.options import {options}
from elmlff_core.meta.{module} import {meta}

folder = Path({folder!r})
meta = {meta}({options}.model_validate_json({values!r}))
meta.load(folder)
features = load_features(folder / "features.safetensors")
forces = meta.predict(features).forces
if hasattr(meta, "forces_std"):
    meta.forces_std(features)
np.save(folder / "forces.npy", forces)
heavy = [name for name in sys.modules if name.split(".")[0] in ("pytorch_lightning", "matplotlib")]
assert not heavy, heavy
assert "elmlff_core.meta.training" not in sys.modules
"""


@pytest.mark.parametrize("name", METAS)
def test_predicting_imports_no_training_and_no_plots(tmp_path, name):
    meta, features = METAS[name], example_features(4)
    training = TrainingConfig(epochs=1, batch_size=4, device="cpu")
    meta.fit(FitRequest(features, features, training, tmp_path, 0, lambda _: None))
    meta.save(tmp_path)
    save_features(features, tmp_path / "features.safetensors")
    code = CODE.format(
        module=name, meta=type(meta).__name__, options=type(meta.options).__name__, folder=str(tmp_path),
        values=meta.options.model_dump_json(),
    )  # fmt: skip
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert np.array_equal(np.load(tmp_path / "forces.npy"), meta.predict(features).forces)
