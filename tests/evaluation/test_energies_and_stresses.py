"""Errors of energies and stresses against loops, in a table, and in words where they are equal by construction."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from elmlff_core.cli.console import print_errors
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.evaluation.equal_energies import equal_energies
from elmlff_core.evaluation.model_errors import ModelErrors
from elmlff_core.evaluation.summary import unused_stresses_note
from elmlff_core.features.metrics import metrics
from elmlff_core.report.error_tables import energy_stress_table
from tests.conftest import synthetic_features

FORCES = {"rmse_per_frame": 0.2, "rmse": 0.3, "mae": 0.1}


def model(name: str, kind: str = "stack", energy: float | None = None, stress: float | None = None) -> ModelErrors:
    found = dict(FORCES)
    if energy is not None:
        found |= {"energy_rmse_per_atom": energy, "energy_mae_per_atom": energy / 2}
    if stress is not None:
        found |= {"stress_rmse": stress, "stress_mae": stress / 2}
    meta = "linear" if name == "linear combination" else ""
    return ModelErrors(name, kind, dict.fromkeys(("test", "valid", "train"), found), meta=meta)


def test_errors_agree_with_a_loop():
    features = synthetic_features(12)
    rng = np.random.default_rng(3)
    labels = Prediction(features.n_atoms, features.reference_forces, rng.normal(size=12), rng.normal(size=(12, 6)))
    found = Prediction(features.n_atoms, features.forces[0], rng.normal(size=12), rng.normal(size=(12, 6)))
    object.__setattr__(features, "reference", labels)
    values = metrics(found, features)
    energies = [abs(found.energy[i] - labels.energy[i]) / 5 for i in range(12)]
    stresses = [abs(found.stress[i, k] - labels.stress[i, k]) for i in range(12) for k in range(6)]
    assert values["energy_mae_per_atom"] == pytest.approx(sum(energies) / 12)
    assert values["energy_rmse_per_atom"] == pytest.approx((sum(error**2 for error in energies) / 12) ** 0.5)
    assert values["stress_mae"] == pytest.approx(sum(stresses) / 72)
    assert values["stress_rmse"] == pytest.approx((sum(error**2 for error in stresses) / 72) ** 0.5)
    assert set(metrics(Prediction(found.n_atoms, found.forces), features)) == set(FORCES)


def test_structures_without_a_stress_label_are_left_out():
    features = synthetic_features(4)
    rng = np.random.default_rng(4)
    label, found = rng.normal(size=(2, 4, 6))
    label[1:3] = np.nan
    object.__setattr__(features, "reference", Prediction(features.n_atoms, features.reference_forces, None, label))
    prediction = Prediction(features.n_atoms, features.forces[0], None, found)
    error = (found - label)[[0, 3]]
    assert metrics(prediction, features)["stress_rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert metrics(prediction, features)["stress_mae"] == pytest.approx(np.abs(error).mean())
    label[:] = np.nan
    assert "stress_rmse" not in metrics(prediction, features)


def test_the_table_is_in_milli_units_and_has_dashes_where_a_model_predicts_none():
    table = energy_stress_table([model("nep", "base model", 0.0125, 0.003), model("stack (egat)", energy=0.002)])
    assert table.head[:2] == ["model", "test\nenergy RMSE"]
    cells = {row[0]: dict(zip(table.head[1:], row[1:], strict=True)) for row in table.rows}
    assert cells["nep"]["test\nenergy RMSE"] == "12.500"
    assert cells["nep"]["training\nstress RMSE"] == "3.000"
    assert cells["stack (egat)"]["validation\nenergy RMSE"] == "2.000"
    assert cells["stack (egat)"]["test\nstress MAE"] == "–"
    assert energy_stress_table([model("forces alone")]) is None


def test_equal_energy_errors_are_explained():
    models = [
        model("nep", "base model", 0.002),
        model("linear combination", "baseline", 0.002),
        model("stack (egat)", energy=0.002),
        model("stack (conservative)", energy=0.001),
        model("stack (mean of egat and conservative)", energy=0.001),  # that of conservative: not the combination
    ]
    note = equal_energies(models)
    assert note.startswith("The energy errors of linear combination, stack (egat) are equal")
    assert note.endswith("With an energy of its own: stack (conservative).")
    assert equal_energies([model("nep", "base model", 0.002), model("stack (egat)", energy=0.002)]) == ""
    assert equal_energies([model("stack (egat)"), model("linear combination", "baseline")]) == ""


def test_the_screen_shows_both_tables():
    out = io.StringIO()
    models = [model("nep", "base model", 0.0125, 0.003), model("linear combination", "baseline", 0.002)]
    models.append(model("stack (egat)", energy=0.002))
    print_errors(Console(file=out, width=160), models, ("test", "valid"))
    text = out.getvalue()
    for word in ("12.500", "3.000", "meV per atom", "meV/Å³", "are equal"):
        assert word in text


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_no_number_is_cut_on_a_narrow_screen(width):
    out = io.StringIO()
    models = [model("nep", "base model", 0.1234567, 0.0234567), model("mean of the base models", "baseline", 0.3, 0.4)]
    spread = dict.fromkeys(("test", "valid", "train"), models[1].errors["test"])
    models.append(replace(model("stack (conservative)", "stack", 0.002, 0.001), seed_std=spread, per_seed=[{}, {}]))
    print_errors(Console(file=out, width=width), models, ("test", "valid", "train"))
    lines = out.getvalue().splitlines()
    assert "…" not in out.getvalue()
    assert max(map(len, lines)) <= width
    cells = [cell.strip() for line in lines if line.startswith("│") for cell in line.strip("│").split("│")]
    for value, times in (("123.457", 3), ("61.728", 1), ("23.457", 3), ("11.728", 1), ("0.2000", 9)):
        assert sum(cell.split()[:1] == [value] for cell in cells) == times, value
    assert sum(line.startswith("│ nep") for line in lines) == sum(line.startswith("┃ model") for line in lines)


def test_groups_of_structures_have_their_own_titles():
    known = ModelErrors("nep", "base model", {"unknown": FORCES | {"energy_rmse_per_atom": 0.004}})
    table = energy_stress_table([known], ("unknown",), {"unknown": "7 seen or not"})
    assert table.head == ["model", "7 seen or not\nenergy RMSE"]
    assert table.rows == [["nep", "4.000"]]


def test_the_note_says_why_stress_labels_are_not_used():
    features = synthetic_features(3)
    assert unused_stresses_note(features) == ""
    labels = Prediction(features.n_atoms, features.reference_forces, None, np.zeros((3, 6)))
    features = replace(features, reference=labels)
    assert "some structures are not periodic" in unused_stresses_note(features)
    periodic = [atoms.copy() for atoms in features.structures]
    for atoms in periodic:
        atoms.set_cell([9, 9, 9])
        atoms.pbc = True
    stresses = dict.fromkeys(features.models[1:], np.zeros((3, 6)))
    features = replace(features, structures=periodic, stresses=stresses)
    assert f"not used: {features.models[0]} gives no stress" in unused_stresses_note(features)
    complete = replace(features, stresses=dict.fromkeys(features.models, np.zeros((3, 6))))
    assert unused_stresses_note(complete) == ""
