"""The authors' se_e3, a frozen model of DeePMD-kit's TensorFlow backend, in a worker that has TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elmlff_core.base_models.named import named_model
from elmlff_core.data.readers import read_dataset
from elmlff_core.environments.folder import find
from elmlff_core.settings.config import ModelConfig
from elmlff_plugins.deepmd.evaluation import TENSORFLOW

pytestmark = pytest.mark.environments
N_FRAMES = 10
PUBLISHED = 0.0841  # eV/Å, Table 1 of the paper


def test_the_authors_three_body_potential_has_its_published_error(shared: Path) -> None:
    assert find(TENSORFLOW) is not None, f"make it first: elmlff env create {TENSORFLOW}"
    settings = ModelConfig(
        adapter="dp",
        checkpoint=shared / "models" / "methanol-cu100" / "dp3.pb",
        trust=True,
        python=f"env:{TENSORFLOW}",
    )
    data = read_dataset(str(shared / "data" / "methanol-cu100" / "train"))
    model = named_model("dp3", settings)
    try:
        found = model.force_field.predict(data.structures[:N_FRAMES])
    finally:
        model.close()
    assert found.energy is not None
    assert np.isfinite(found.energy).all()
    errors = [np.sqrt(np.mean((found.forces_of(index) - data.forces_of(index)) ** 2)) for index in range(N_FRAMES)]
    print(f"force RMSE per frame over {N_FRAMES} frames: {np.mean(errors):.4f} eV/Å, published {PUBLISHED}")
    assert np.mean(errors) == pytest.approx(PUBLISHED, rel=0.1)
