"""Locks between processes, also where the file system has none, as some network file systems do.

A lock saves work that two processes would do twice.  No result may depend on it: another machine may see the same
folder, and a lock may not reach it.  Files are therefore written whole (`elmlff_core.files`), and two writers of the
same content do no harm.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

# What flock(2) says where a file system has no locks, or where its lock server does not answer.
NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})

__all__ = ["Timeout", "acquired", "lock_at", "locked"]


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock at `path` during the block, and yield whether it is held: not where there are no locks.

    Parameters
    ----------
    path : file of the lock; it stays
    wait : whether to wait for a process that holds it; otherwise that is an error

    Raises
    ------
    Timeout
        Another process holds the lock, and `wait` is False.
    OSError
        The file cannot be made.
    """
    lock = lock_at(path, wait)
    held = acquired(lock)
    try:
        yield held
    finally:
        lock.release()  # does nothing where it is not held


def lock_at(path: Path, wait: bool = True, one_per_process: bool = False) -> FileLock:
    """Return a lock that is not held yet.

    It never becomes a lock by the existence of a file, which would outlive a killed process on another machine.  With
    `one_per_process` all locks at `path` in this process are the same object.
    """
    return FileLock(path, timeout=-1 if wait else 0, is_singleton=one_per_process, fallback_to_soft=False)


def acquired(lock: FileLock) -> bool:
    """Acquire `lock` and return whether it is held: not where there are no locks; errors as in `locked`."""
    try:
        lock.acquire()
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise
    return True
