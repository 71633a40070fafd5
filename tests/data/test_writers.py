"""Predictions as a file: whole or not at all."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest

from elmlff_core.contracts.prediction import Prediction
from elmlff_core.data.writers import write_predictions
from elmlff_core.errors import ElmlffError
from tests.conftest import random_molecules


def predicted(n_structures: int) -> Prediction:
    rng = np.random.default_rng(0)
    return Prediction(np.full(n_structures, 5), rng.normal(size=(5 * n_structures, 3)), rng.normal(size=n_structures))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    structures, prediction = random_molecules(3), predicted(3)
    stds = np.arange(15.0), np.arange(3.0)
    write_predictions(structures, prediction, tmp_path / "out.extxyz", *stds)
    found = ase.io.read(tmp_path / "out.extxyz", ":")
    assert np.allclose(np.concatenate([atoms.get_forces() for atoms in found]), prediction.forces, atol=1e-7)
    assert np.allclose([atoms.get_potential_energy() for atoms in found], prediction.energy)
    assert np.allclose(np.concatenate([atoms.arrays["forces_std"] for atoms in found]), stds[0])
    assert [atoms.info["energy_std"] for atoms in found] == stds[1].tolist()


def test_a_failure_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.extxyz"
    write_predictions(random_molecules(2), predicted(2), path)
    before = path.read_bytes()

    def full_disk(target: Path, structures: object, format: str) -> None:
        Path(target).write_bytes(before[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ase.io, "write", full_disk)
    with pytest.raises(ElmlffError, match=r"cannot write .*out\.extxyz: No space left on device"):
        write_predictions(random_molecules(2), predicted(2), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
