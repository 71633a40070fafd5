"""A stack is loaded and predicts without the packages for training and plots."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from elmlff_core import load_stack
from elmlff_core.base_models.named import named_model
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.settings.config import ModelConfig, TrainingConfig
from elmlff_core.stack.stack import Stack
from elmlff_core.testing import example_structures
from tests.conftest import synthetic_features

CODE = """
import sys
import numpy as np
from elmlff_core import load_stack
from elmlff_core.testing import example_structures

stack = load_stack(sys.argv[1])
np.save(sys.argv[2], stack.predict(example_structures(["C", "H"])[:3]).forces)
print(*sorted({name.split(".")[0] for name in sys.modules} & {"pytorch_lightning", "matplotlib"}))
"""
OPTIONS = {"width": 8, "layers": 1, "heads": 2}


def test_predicting_imports_no_training_and_no_plots(tmp_path: Path) -> None:
    lj = {"calculator": "ase.calculators.lj:LennardJones", "arguments": {"sigma": 1.0, "rc": 10.0}}
    base_models = [named_model(name, ModelConfig(adapter="ase", options=lj)) for name in ("m0", "m1")]
    meta = make_meta("egat", OPTIONS)
    features = synthetic_features(12, n_models=2)
    training = TrainingConfig(epochs=1, batch_size=4, device="cpu")
    meta.fit(FitRequest(features, features, training, tmp_path / "fit", 0, lambda _: None))
    Stack(base_models, "egat", OPTIONS, meta).save(tmp_path / "stack")
    arguments = [sys.executable, "-c", CODE, str(tmp_path / "stack"), str(tmp_path / "forces.npy")]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""
    forces = load_stack(tmp_path / "stack").predict(example_structures(["C", "H"])[:3]).forces
    assert np.allclose(np.load(tmp_path / "forces.npy"), forces, rtol=1e-5, atol=1e-6)
