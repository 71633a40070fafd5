"""The choice of a meta-model by cross-validation, where structures are few."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.progress import Reporter
from elmlff_core.fits.auto import SIMPLE, WITH_EXPANSION, tried
from elmlff_core.fits.choice import better_by_a_standard_error, choose
from elmlff_core.fits.meta_models import FEWEST, resolve_meta_models
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.inputs import read_inputs
from elmlff_core.workflows.prepare import Prepared, prepare
from elmlff_core.workflows.stack.workflow import build_stack

NOISE = 0.01  # eV/Å, of the labels, which no meta-model can learn
NARROW = {"width": 8, "heads": 2, "layers": 1}


def pairs(n: int, springs: tuple[float, ...], seed: int = 0) -> Features:
    """Return pairs of atoms with a spring between them, and base models with springs of other strengths."""
    rng = np.random.default_rng(seed)
    structures, forces, energies = [], [], []
    for _ in range(n):
        distance = rng.uniform(0.8, 1.4)
        structures.append(Atoms("H2", positions=[[0, 0, 0], [0, 0, distance]]))
        forces.append(np.array([[0, 0, distance - 1], [0, 0, 1 - distance]]))
        energies.append(0.5 * (distance - 1) ** 2)
    reference = Prediction.from_lists(forces, energies)
    models = tuple(f"spring{number}" for number in range(len(springs)))
    bases = np.stack([spring * reference.forces for spring in springs])
    labels = replace(reference, forces=reference.forces + rng.normal(scale=NOISE, size=bases.shape[1:]))
    base_energies = {name: spring * reference.energy for name, spring in zip(models, springs, strict=True)}
    return Features(structures, models, bases, base_energies, labels)


def test_a_network_has_to_be_better_by_a_standard_error():
    linear = np.array([1.0, 2.0, 3.0, 4.0])
    clearly, hardly = linear - [0.5, 0.6, 0.4, 0.5], linear - [2.0, -1.5, 1.5, -1.0]
    assert better_by_a_standard_error({"linear": linear, "net": clearly}, ["linear"]) == ["net"]
    assert better_by_a_standard_error({"linear": linear, "net": hardly}, ["linear"]) == ["linear"]
    assert better_by_a_standard_error({"best": linear + 1, "linear": linear, "net": hardly}, ["best", "linear"]) == [
        "linear"
    ]
    # Structures that no fit could predict count for none.
    holed = np.append(linear, np.nan)
    assert better_by_a_standard_error({"linear": holed, "net": np.append(clearly, np.nan)}, ["linear"]) == ["net"]


def resolved(tmp_path: Path, n: int, labelled: bool = True, **settings: object) -> tuple:
    from ase.calculators.singlepoint import SinglePointCalculator

    from elmlff_core.data.writers import write_structures

    features = pairs(n, (0.5,))
    for index, atoms in enumerate(features.structures):
        atoms.calc = SinglePointCalculator(
            atoms, forces=features.reference.forces_of(index),
            **({"energy": float(features.reference.energy[index])} if labelled else {}),
        )  # fmt: skip
    write_structures(features.structures, tmp_path / "pairs.extxyz")
    model = {"adapter": "ase", "trust": True, "options": {"calculator": "ase.calculators.lj:LennardJones"}}
    overlay = {
        "models": {"lj": model, "soft": {**model, "options": {**model["options"], "arguments": {"epsilon": 0.1}}}},
        "base_models": ["lj", "soft"],
        "data": {"train": str(tmp_path / "pairs.extxyz")},
        **settings,
    }
    inputs = read_inputs(read_config(None, overlay, []))
    return inputs.config, inputs.splits


def names(metas: list) -> list[str]:
    return [meta.name for meta in metas]


@pytest.mark.parametrize(
    ("n", "settings", "chosen_from", "without_choice", "alone"),
    [
        (60, {}, ["best", "linear", "ace", "conservative-ace"], ["ace", "conservative-ace"], "egat"),
        (400, {}, [], ["ace", "conservative-ace"], "egat"),
        (FEWEST, {}, [], ["linear"], "linear"),  # fewer than six are left for training
        (60, {"meta": {"name": "linear"}}, [], ["linear"], "linear"),
        (60, {"meta": {"width": 16}}, [], ["egat"], "egat"),  # an option without a name is one of the usual meta-model
    ],
)
def test_the_choice_is_open_with_few_structures_and_no_name(tmp_path, n, settings, chosen_from, without_choice, alone):
    config, splits = resolved(tmp_path, n, **settings)
    found = tried(config, splits)
    assert names(found.compared) == chosen_from
    assert names(found.metas) == without_choice
    assert not found.left_out
    assert [meta.name for meta in resolve_meta_models(config, splits)] == [alone]


def test_what_needs_energies_is_not_tried_without_them(tmp_path):
    config, splits = resolved(tmp_path, 60)
    silent = replace(splits, source=replace(splits.source, energy=None))
    for labelled, energies in ((splits, False), (silent, None)):
        found = tried(config, labelled, energies)
        assert names(found.compared) == ["best", "linear", "egat"]
        assert names(found.metas) == ["egat"]
        assert found.left_out == ["ace", "conservative-ace"]


def test_ace_is_no_candidate_for_many_elements(tmp_path, monkeypatch):
    config, splits = resolved(tmp_path, 60)
    monkeypatch.setattr("elmlff_core.fits.auto.MOST_ELEMENTS", 0)
    assert names(tried(config, splits).compared) == ["best", "linear", "egat", "conservative"]
    assert names(tried(config, splits).metas) == ["egat"]
    assert tried(config, splits, energies=False).left_out == ["conservative"]


def test_what_cannot_be_trained_in_the_precision_is_not_tried(tmp_path):
    config, splits = resolved(tmp_path, 60, training={"precision": "bfloat16"})
    assert names(tried(config, splits).compared) == ["best", "linear", "ace"]


def test_options_of_a_candidate_reach_it(tmp_path):
    config, splits = resolved(tmp_path, 60, meta={"name": "auto", "conservative-ace": NARROW})
    assert {meta.name: meta.options for meta in tried(config, splits).compared}["conservative-ace"] == NARROW


SMALL = {"name": "auto", "conservative-ace": NARROW, "egat": NARROW, "conservative": NARROW}


def metas_of(tmp_path: Path, epochs: int, energies: bool = True) -> list:
    config, splits = resolved(tmp_path, 60, meta=SMALL, training={"epochs": epochs})
    return tried(config, splits, energies).compared


def test_where_the_combination_is_right_no_network_is_chosen_and_missing_energies_leave_out_what_needs_them(tmp_path):
    train, valid = pairs(12, (0.5, 2.0)), pairs(4, (0.5, 2.0), 1)
    folds = [np.arange(fold, 12, 3) for fold in range(3)]
    metas = metas_of(tmp_path, 3)
    choice = choose(metas, {"train": train, "valid": valid}, folds, tmp_path / "choice", 0, Reporter())
    assert list(choice.errors) == [*SIMPLE, *WITH_EXPANSION]
    assert [meta.name for meta in choice.metas] == ["linear"]
    assert choice.errors["linear"] == pytest.approx(NOISE, rel=0.3)
    errors_of_soft = [(train.reference.forces_of(i) - train.forces[0, 2 * i : 2 * i + 2]) for i in range(12)]
    assert choice.errors["best"] == pytest.approx(np.mean([np.sqrt((error**2).mean()) for error in errors_of_soft]))
    silent = {"train": replace(train, energies={}), "valid": replace(valid, energies={})}
    networks = metas_of(tmp_path, 3, energies=False)
    errors = choose(networks, silent, folds, tmp_path / "silent", 0, Reporter()).errors
    assert set(errors) == {"best", "linear", "egat"}


def test_a_run_says_what_was_chosen_and_why_and_finds_its_fits_again(tmp_path, monkeypatch):
    config, _ = resolved(tmp_path, 40, meta=SMALL, training={"epochs": 3})
    found = build_stack(config, tmp_path / "run", tmp_path / "models")
    assert any("3-fold cross-validation on the training structures leaves" in note for note in found.notes)
    fitted = {path.parent.name for path in (tmp_path / "run/choice").glob("*/fitted.json")}
    assert fitted == {f"{name}-fold{number}" for name in (*SIMPLE, *WITH_EXPANSION) for number in (1, 2, 3)}
    # An interrupted run goes on after the choice: nothing is fitted again.
    (tmp_path / "run/metrics.json").unlink()
    monkeypatch.setattr("elmlff_core.fits.fit._fit", None)
    again = build_stack(config, tmp_path / "run", tmp_path / "models")
    assert again.summary == found.summary


MISSING = "without energies of every base model, and of the labels, these were not tried: ace and conservative-ace"


@pytest.mark.parametrize("n", [40, 300])  # structures, with and without cross-validation
@pytest.mark.parametrize("of_labels", [True, False], ids=["labels", "base models"])
def test_where_energies_are_missing_networks_that_need_none_take_the_place_of_others(
    tmp_path, monkeypatch, n, of_labels
):
    def without_base_energies(*arguments: Any) -> Prepared:
        found = prepare(*arguments)
        silent = {split: replace(features, energies={}) for split, features in found.features.items()}
        return replace(found, features=silent)

    if not of_labels:  # those of base models are known late, after all is checked that can be
        monkeypatch.setattr("elmlff_core.workflows.stack.workflow.prepare", without_base_energies)
    settings = {"meta": SMALL, "training": {"epochs": 2}, "average": not of_labels}
    config, _ = resolved(tmp_path, n, labelled=not of_labels, **settings)
    found = build_stack(config, tmp_path / "run", tmp_path / "models")
    assert MISSING in found.notes
    fitted = {error.meta for error in found.errors if error.kind == "stack"}
    assert fitted == {"egat"} if n > 200 else fitted <= {"best", "linear", "egat"}
    assert any("there is nothing to average" in note for note in found.notes) == (not of_labels)
