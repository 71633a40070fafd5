"""Structures as a file: whole or not at all."""

from __future__ import annotations

from pathlib import Path

import ase.io
import pytest

from elmlff_core.data.writers import write_structures
from elmlff_core.errors import ElmlffError
from tests.conftest import random_molecules


def test_a_failure_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.extxyz"
    write_structures(random_molecules(2), path)
    before = path.read_bytes()

    def full_disk(target: Path, structures: object, format: str) -> None:
        Path(target).write_bytes(before[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ase.io, "write", full_disk)
    with pytest.raises(ElmlffError, match=r"cannot write .*out\.extxyz: No space left on device"):
        write_structures(random_molecules(2), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
