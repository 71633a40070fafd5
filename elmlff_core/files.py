"""Files that appear whole or not at all.

What is written goes into a partial file beside the wanted one, which takes its place when all of it is on the disk.  A
killed run, a full disk or a second writer then leave the old file or the new one, and never half of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elmlff_core.errors import ElmlffError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A partial file to be written, which replaces `path` where the block ends well and is removed where it does not.

    Its name is like no other, so that writers on several machines that share a folder do not meet: the last one wins.

    Raises
    ------
    ElmlffError
        The system refuses the block's writing or the replacement: no permission, no room, no such folder.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        yield partial
        _flush(partial)
        os.replace(partial, path)
    except OSError as error:
        raise ElmlffError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Make `data` the contents of `path`; ElmlffError where it cannot be written."""
    with replacing(path) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Make `text`, in UTF-8, the contents of `path`; ElmlffError where it cannot be written."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Make `value` as JSON the contents of `path`; ElmlffError where it cannot be written."""
    write_text(path, json.dumps(value, indent=indent))


def read_json(path: Path, keys: Collection[str] = (), remedy: str = "restore it or remove it") -> dict[str, Any]:
    """Read the JSON object in `path`, which elmlff wrote.

    Parameters
    ----------
    path : of the file
    keys : that it must have
    remedy : what to do where it cannot be used, for the message

    Raises
    ------
    ElmlffError
        The file is missing, damaged, or no object with these keys; the message names it and says what to do.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ElmlffError(f"there is no file {path}: {remedy}") from error
    except (OSError, ValueError, RecursionError) as error:  # wrong JSON and wrong UTF-8 are ValueErrors
        raise ElmlffError(f"cannot read {path}: {type(error).__name__}: {error}; {remedy}") from error
    if not isinstance(record, dict):
        raise ElmlffError(f"{path} holds {type(record).__name__}, expected a JSON object: {remedy}")
    if missing := sorted(set(keys) - set(record)):
        raise ElmlffError(f"{path} lacks {', '.join(missing)}: {remedy}")
    return record


def sha256_of(path: Path) -> str:
    """Hex digest of the contents of `path`, which is read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Have the contents on the disk before the name is: after a power cut, a renamed file could be empty otherwise."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
