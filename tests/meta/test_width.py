"""The width `auto` of equivariant networks follows the number of atoms to learn from, and is kept with the fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.meta import options as options_module
from elmlff_core.meta.equivariant_meta import EquivariantMeta
from elmlff_core.meta.options import AttentionOptions, ConservativeOptions, EGATOptions
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.testing.meta_model import example_features

BOTH = pytest.mark.parametrize("name", ["egat", "conservative"])
SMALL = {"width": "auto", "layers": 1}


@pytest.mark.parametrize(("options", "few", "many"), [(EGATOptions, 64, 128), (ConservativeOptions, 48, 96)])
def test_with_many_atoms_networks_are_wider(options: type[AttentionOptions], few: int, many: int) -> None:
    auto = options(width="auto")
    assert auto.width_for(options_module.MANY_ATOMS - 1) == few
    assert auto.width_for(options_module.MANY_ATOMS) == many
    assert options().width_for(10**9) == few, "the default does not depend on the structures"


@pytest.mark.parametrize("width", ["wide", 0, 12])
def test_other_widths_are_refused(width: object) -> None:
    with pytest.raises(ValidationError, match="width"):
        EGATOptions.model_validate({"width": width, "heads": 8})


@BOTH
def test_the_width_is_that_of_the_fit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = example_features(8)
    fitted, loaded = make_meta(name, SMALL), make_meta(name, SMALL)
    assert isinstance(fitted, EquivariantMeta)
    monkeypatch.setattr(options_module, "MANY_ATOMS", features.forces.shape[1])
    training = TrainingConfig(epochs=1, batch_size=4, device="cpu")
    fitted.fit(FitRequest(features, features, training, tmp_path / "fit", 0, lambda _: None))
    monkeypatch.undo()  # a stack may be used by another version, with another limit
    (tmp_path / "saved").mkdir()
    fitted.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "meta.json").read_text())["width"] == max(fitted.options.WIDTHS)
    loaded.load(tmp_path / "saved")
    assert np.array_equal(loaded.predict(features).forces, fitted.predict(features).forces)
