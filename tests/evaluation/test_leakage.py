"""Base models that were trained on test structures are told, where it can be known."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.content import SeenStructures
from elmlff_core.evaluation.leakage import is_far_lower, leakage_notes
from elmlff_core.settings.config import Config
from elmlff_core.stack.stack import load_stack
from elmlff_core.workflows.base_models import train_one
from elmlff_core.workflows.evaluate import evaluate_stack
from elmlff_core.workflows.inputs import read_inputs
from elmlff_core.workflows.stack.workflow import build_stack
from tests.cli.small_data import write_small_data
from tests.conftest import synthetic_features


def with_noise(features: Features, noise: float, seed: int) -> Features:
    """Return features whose only base model has errors of the size `noise`."""
    reference = features.reference_forces
    forces = reference + noise * np.random.default_rng(seed).normal(size=reference.shape)
    return replace(features, forces=forces[None])


def splits_of(test_noise: float, valid_noise: float = 0.0089, n_valid: int = 12) -> dict[str, Features]:
    features = synthetic_features(n_structures=40 + n_valid, n_models=1)
    index = np.arange(len(features))
    return {
        "test": with_noise(features.subset(index[:40]), test_noise, 90),
        "valid": with_noise(features.subset(index[40:]), valid_noise, 91),
    }


def test_an_error_far_below_that_on_validation_structures_is_told() -> None:
    splits = splits_of(0.0027)
    (note,) = leakage_notes(splits, {"m0": None})
    error, valid = (
        np.sqrt(((split.forces[0] - split.reference_forces) ** 2).reshape(-1, 15).mean(axis=1)).mean()
        for split in (splits["test"], splits["valid"])
    )  # 5 atoms with 3 components each
    assert error < valid / 2
    assert f"m0 is {error:.4f} eV/Å on test structures, far below its {valid:.4f} on validation structures" in note


@pytest.mark.parametrize("test_noise", [0.0089, 0.0075, 0.02])
def test_of_equal_errors_it_is_said_that_nothing_can_be_known(test_noise: float) -> None:
    (note,) = leakage_notes(splits_of(test_noise), {"m0": None})
    assert note.startswith("Whether m0 was trained on test structures cannot be known")


def test_a_few_calm_structures_are_no_evidence() -> None:
    """Test structures with a tenth of the forces, and errors in proportion."""
    splits = splits_of(0.0089)
    test = splits["test"]
    assert test.reference is not None
    calm = replace(
        test, forces=0.1 * test.forces, reference=replace(test.reference, forces=0.1 * test.reference.forces)
    )
    assert not is_far_lower("m0", calm, splits["valid"])
    assert not is_far_lower("m0", splits["test"].subset([0, 1]), splits["valid"].subset([0, 1]))


def test_the_record_of_a_training_decides() -> None:
    splits = splits_of(0.0027)
    structures = splits["test"].structures
    others = synthetic_features(n_structures=9, seed=5).structures
    (note,) = leakage_notes(splits, {"m0": SeenStructures.of([*structures[:30], *others], structures[30:32])})
    assert "m0 was trained on 32 of the 40 test structures" in note
    assert leakage_notes(splits, {"m0": SeenStructures.of(others, others)}) == []


def test_a_checkpoint_that_elmlff_trained_on_test_structures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A NEP is trained on the training structures of one split, and stacked by its checkpoint with another split."""
    monkeypatch.chdir(tmp_path)
    write_small_data(tmp_path)
    short = {"options": {"steps": 20, "neuron": 5}}

    def config(models: dict, seed: int) -> Config:
        data = {"train": "few.extxyz", "split_seed": seed}
        return Config.model_validate({"models": models, "base_models": ["nep"], "data": data, "meta": {"name": "mean"}})

    first = config({"nep": short}, 0)
    checkpoint = train_one(first, "nep", tmp_path / "models", Reporter())
    seen, tested = read_inputs(first).splits, read_inputs(config({"nep": short}, 1)).splits
    n_seen = len(np.setdiff1d(tested.test_index, seen.test_index))
    assert 0 < n_seen < len(tested.test_index)

    given = build_stack(config({"nep": {"checkpoint": checkpoint}}, 1), tmp_path / "given")
    assert any(f"nep was trained on {n_seen} of the {len(tested.test_index)} test structures" in n for n in given.notes)
    same = build_stack(config({"nep": {"checkpoint": checkpoint}}, 0), tmp_path / "same")
    assert not any("trained on" in note and "test structures" in note for note in same.notes)
    trained = build_stack(config({"nep": short}, 0), tmp_path / "trained", tmp_path / "models")
    assert not any("test structures cannot be known" in note for note in trained.notes)

    shutil.copy(checkpoint, tmp_path / "copy.txt")
    copied = build_stack(config({"nep": {"checkpoint": tmp_path / "copy.txt"}}, 1), tmp_path / "copied")
    assert any("Whether nep was trained on test structures cannot be known" in note for note in copied.notes)

    stack = load_stack(tmp_path / "given")
    found = evaluate_stack(stack, seen.source.subset(tested.test_index), Reporter())
    assert any(f"nep was trained on {n_seen} of the" in note for note in found.notes)
