"""Locks: also on file systems that have none, and folders that several machines write."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from elmlff_core.files import ABANDONED, PARTIAL, replacing, write_text
from elmlff_core.locks import Timeout, locked
from elmlff_core.settings.config import Config
from elmlff_core.settings.run_folder import RunFolder


def failing(number: int) -> Callable[[int, int], None]:
    """Return a `flock` of a file system that fails with the error `number`."""

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_work_goes_on(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(number))
    with locked(tmp_path / "lock") as held, locked(tmp_path / "lock", wait=False) as again:
        assert (held, again) == (False, False)
    write_text(tmp_path / "file", "whole")
    assert (tmp_path / "file").read_text() == "whole"
    for _ in range(2):
        RunFolder.open(tmp_path / "run", "key", Config())
    assert not [path for path in tmp_path.rglob("*") if path.suffix == PARTIAL]


def test_other_errors_of_a_file_system_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), locked(tmp_path / "lock"):
        pass


def test_a_lock_that_is_held_is_told_at_once(tmp_path: Path) -> None:
    with locked(tmp_path / "lock") as held:
        assert held
        with pytest.raises(Timeout), locked(tmp_path / "lock", wait=False):
            pass
    with locked(tmp_path / "lock", wait=False) as held:
        assert held


def test_the_writer_on_another_machine_is_left_in_peace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock may not be seen here; only what is older than any writer is removed."""
    target = tmp_path / "file"
    monkeypatch.setattr(platform, "node", lambda: "there")
    writer = replacing(target)
    partial = writer.__enter__()
    partial.write_text("from there")
    (partial.parent / "writer.lock").unlink()  # as for a lock that is held on another machine only
    monkeypatch.setattr(platform, "node", lambda: "here")
    write_text(target, "from here")
    assert partial.exists()
    writer.__exit__(None, None, None)
    assert target.read_text() == "from there"
    leftovers = [tmp_path / f".file.{name}{PARTIAL}" for name in ("old", "new")]
    for leftover in leftovers:
        leftover.mkdir()
    long_ago = time.time() - ABANDONED - 60
    os.utime(leftovers[0], (long_ago, long_ago))
    (leftovers[0] / "writer.lock").touch()
    os.utime(leftovers[0], (long_ago, long_ago))
    write_text(target, "again")
    assert [leftover.exists() for leftover in leftovers] == [False, True]
