"""The width `auto` of `egat` follows the number of atoms to learn from, and is kept with the fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.meta import options as options_module
from elmlff_core.meta.options import MANY_ATOMS, ConservativeOptions, EGATOptions
from elmlff_core.plugins.registry import registry
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.testing.meta_model import example_features

SMALL = {"width": "auto", "layers": 1}


@pytest.mark.parametrize(("n_atoms", "width"), [(MANY_ATOMS - 1, 64), (MANY_ATOMS, 128)])
def test_with_many_atoms_a_network_is_wider(n_atoms: int, width: int) -> None:
    assert EGATOptions(width="auto").width_for(n_atoms) == width
    assert EGATOptions().width_for(n_atoms) == 64
    assert ConservativeOptions().width_for(n_atoms) == 48


@pytest.mark.parametrize("options", [{"width": "wide"}, {"width": 0}, {"width": 12}, {"width": "auto", "heads": 3}])
def test_other_widths_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="width"):
        EGATOptions.model_validate({"heads": 8} | options)


def test_the_budget_long_follows_the_number_of_atoms() -> None:
    assert registry().meta_model("egat").budgets == {"long": {"width": "auto"}}


def test_the_width_is_that_of_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = example_features(8)
    fitted, loaded = make_meta("egat", SMALL), make_meta("egat", SMALL)
    monkeypatch.setattr(options_module, "MANY_ATOMS", features.forces.shape[1])
    training = TrainingConfig(epochs=1, batch_size=4, device="cpu")
    fitted.fit(FitRequest(features, features, training, tmp_path / "fit", 0, lambda _: None))
    monkeypatch.undo()  # a stack may be used by another version, with another limit
    (tmp_path / "saved").mkdir()
    fitted.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "meta.json").read_text())["width"] == 128
    loaded.load(tmp_path / "saved")
    assert np.array_equal(loaded.predict(features).forces, fitted.predict(features).forces)
