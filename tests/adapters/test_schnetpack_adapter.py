"""Adapters `schnet` and `painn`: resuming, files without pickles, precision."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule

from elmlff_core.contracts.progress import Progress
from elmlff_core.contracts.protocols import BaseForceField, TrainingRequest
from elmlff_core.errors import ForceFieldError

pytest.importorskip("schnetpack", reason="adapters schnet and painn need schnetpack")

from elmlff_plugins.schnetpack.adapter import SchNetPackTrainer
from elmlff_plugins.schnetpack.options import SchNetPackOptions

Request = Callable[..., TrainingRequest]


def test_an_interrupted_training_resumes_to_the_same_weights(
    training_request: Request, load: Callable[..., BaseForceField], tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    def interrupt(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    trainer = SchNetPackTrainer("painn")
    whole = trainer.train(training_request("painn", tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        trainer.train(training_request("painn", tmp_path / "halves", interrupt))
    assert (tmp_path / "halves" / "last.ckpt").exists()
    epochs: list[int] = []
    halves = trainer.train(training_request("painn", tmp_path / "halves", lambda p: epochs.append(p.done)))
    # The second epoch was trained and validated, so it is only reported again.
    assert epochs == [2, 3, 4]
    expected, found = load_file(whole), load_file(halves)
    for name, weights in expected.items():
        np.testing.assert_array_equal(found[name], weights)
    assert sorted(path.name for path in halves.parent.iterdir()) == ["model.safetensors", "training.json"]


def test_a_killed_training_resumes_after_its_last_epoch_not_after_its_best(
    training_request: Request, tmp_path: Path
) -> None:
    def train(folder: str, progress: Callable[[Progress], None]) -> None:
        request = training_request("painn", tmp_path / folder, progress, learning_rate=1e-2)
        # Labels of the other sign: the first epoch stays the best.
        valid = replace(request.valid, forces=-request.valid.forces)
        SchNetPackTrainer("painn").train(replace(request, valid=valid))

    def keep_what_a_kill_would_leave(progress: Progress) -> None:
        if progress.done == 3:
            shutil.copytree(tmp_path / "whole", tmp_path / "killed")

    train("whole", keep_what_a_kill_would_leave)
    epochs: list[int] = []
    train("killed", lambda p: epochs.append(p.done))
    assert epochs == [3, 4]


def test_changed_options_start_again(training_request: Request, tmp_path: Path) -> None:
    trainer = SchNetPackTrainer("schnet")
    trainer.train(training_request("schnet", tmp_path))
    epochs: list[int] = []
    trainer.train(training_request("schnet", tmp_path, lambda p: epochs.append(p.done)))
    assert epochs == []
    trainer.train(training_request("schnet", tmp_path, lambda p: epochs.append(p.done), learning_rate=2e-3))
    assert epochs == [1, 2, 3, 4]


def test_steps_are_rounded_up_to_epochs() -> None:
    trainer = SchNetPackTrainer("painn")
    length = trainer.length(SchNetPackOptions(steps=1001, batch_size=10), 95)
    assert (length.steps, length.epochs) == (1010, 101.0)
    length = trainer.length(SchNetPackOptions(epochs=3, batch_size=10), 95)
    assert (length.steps, length.epochs) == (30, 3.0)


def test_training_needs_validation_structures(training_request: Request, tmp_path: Path) -> None:
    request = training_request("painn", tmp_path)
    request = TrainingRequest(
        request.name, request.train, request.valid.subset([]), request.options, tmp_path, 1, request.progress
    )
    with pytest.raises(ForceFieldError, match="there are no validation structures"):
        SchNetPackTrainer("painn").train(request)


def test_single_precision_is_near_double_far_from_the_origin(
    trained: Callable[[str], BaseForceField], load: Callable[..., Any], training_request: Request, tmp_path: Path
) -> None:
    checkpoint = SchNetPackTrainer("painn").train(training_request("painn", tmp_path))
    single, double = (load("painn", checkpoint, precision=p) for p in ("float32", "float64"))
    atoms = molecule("C2H4")
    far = atoms.copy()
    far.positions += [3000.0, -2000.0, 1000.0]
    expected = double.predict([atoms])
    for found in (single.predict([atoms]), single.predict([far])):
        np.testing.assert_allclose(found.forces, expected.forces, atol=2e-6)
        # The energy is about 80 eV, and most of it is added in float64.
        assert found.energy[0] == pytest.approx(expected.energy[0], abs=2e-6)


def test_small_batches_change_nothing(
    tiny_data: tuple, load: Callable[..., Any], training_request: Request, tmp_path: Path
) -> None:
    checkpoint = SchNetPackTrainer("schnet").train(training_request("schnet", tmp_path))
    structures = tiny_data[0].structures
    large = load("schnet", checkpoint, precision="float64").predict(structures)
    small = load("schnet", checkpoint, precision="float64", batch_pairs=40).predict(structures)
    np.testing.assert_allclose(small.forces, large.forces, atol=1e-12)
    np.testing.assert_allclose(small.energy, large.energy, atol=1e-12)


def test_safetensors_of_another_kind_are_refused(load: Callable[..., Any], tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ForceFieldError, match="expected elmlff-schnetpack version 1"):
        load("painn", tmp_path / "other.safetensors")


def test_training_without_energies(training_request: Request, load: Callable[..., Any], tmp_path: Path) -> None:
    request = training_request("painn", tmp_path)
    train, valid = (replace(part, energy=None) for part in (request.train, request.valid))
    checkpoint = SchNetPackTrainer("painn").train(replace(request, train=train, valid=valid))
    assert np.isfinite(load("painn", checkpoint).predict(valid.structures).forces).all()
