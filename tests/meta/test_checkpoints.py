"""Checkpoints of a training appear whole or not at all; what cannot be read counts as absent."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.errors import ElmlffError
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.meta.training.checkpoints import WholeCheckpoints, readable_checkpoint
from elmlff_core.settings.config import TrainingConfig
from tests.conftest import synthetic_features

OPTIONS = {"width": 8, "layers": 1, "heads": 1}


@pytest.mark.parametrize("damage", ["empty", "half", "text"])
def test_a_damaged_checkpoint_counts_as_absent(damage: str, tmp_path: Path) -> None:
    """A training beside one ends with the numbers of a training that met none."""
    features = synthetic_features(8)
    training = TrainingConfig(epochs=2, batch_size=4, device="cpu").with_defaults({})
    checkpoint = tmp_path / "met" / "last.ckpt"
    checkpoint.parent.mkdir()
    torch.save({"state_dict": {"weight": torch.zeros(1000)}}, checkpoint)
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "text": b"no checkpoint"}[damage])
    assert readable_checkpoint(checkpoint) is None
    checkpoint.write_bytes(b"")
    forces = []
    for folder in (checkpoint.parent, tmp_path / "clean"):
        meta = make_meta("egat", OPTIONS)
        meta.fit(FitRequest(features, features, training, folder, 0, lambda _: None))
        forces.append(meta.predict(features).forces)
    assert np.array_equal(*forces)


def test_one_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """torch reads it without an error, and the training would go on from other weights."""
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"weight": torch.ones(1000)}}, path)
    assert readable_checkpoint(path) == str(path)
    contents = bytearray(path.read_bytes())
    contents[contents.index(torch.ones(9).numpy().tobytes()) + 5] ^= 1
    path.write_bytes(contents)
    assert not torch.equal(torch.load(path, weights_only=True)["state_dict"]["weight"], torch.ones(1000))
    assert readable_checkpoint(path) is None


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, io = tmp_path / "last.ckpt", WholeCheckpoints()
    io.save_checkpoint({"epoch": 1}, path)

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ElmlffError, match=r"cannot write .*last\.ckpt: No space left on device"):
        io.save_checkpoint({"epoch": 2}, path)
    assert [found.name for found in tmp_path.iterdir()] == ["last.ckpt"]
    assert readable_checkpoint(path) == str(path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
