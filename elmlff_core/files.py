"""Writing files so that each is complete or not there at all.

Text or bytes are written to a partial file in the same folder, which replaces the target once it is complete on disk.
After a killed run, a full disk or a second writer, the target is the old file or the new one, never half of a file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elmlff_core.errors import ElmlffError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a partial file to write; it replaces `path` at the end of the block, or is removed if the block fails.

    The name of the partial file is unique, so that writers on several machines that share a folder do not use the same
    one.  The last writer wins.

    Raises
    ------
    ElmlffError
        The file cannot be written or replaced: no permission, no space, no such folder.
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
    """Write `data` to `path`; raise ElmlffError if that fails."""
    with replacing(path) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8; raise ElmlffError if that fails."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write `value` to `path` as JSON; raise ElmlffError if that fails."""
    write_text(path, json.dumps(value, indent=indent))


def json_text(value: Any, indent: int | None = 1) -> str:
    """Return `value` as JSON for other programs: numbers that are not finite, which JSON does not have, become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def read_json(path: Path, keys: Collection[str] = (), remedy: str = "restore it or remove it") -> dict[str, Any]:
    """Read the JSON object in `path`, which elmlff wrote.

    Parameters
    ----------
    path : the file
    keys : keys that it must have
    remedy : for the message, what to do if the file cannot be used

    Raises
    ------
    ElmlffError
        The file is missing or damaged, or is not an object with these keys; the message has its name and the remedy.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ElmlffError(f"there is no file {path}: {remedy}") from error
    except (OSError, ValueError, RecursionError) as error:  # wrong JSON and wrong UTF-8 are ValueErrors
        raise ElmlffError(f"cannot read {path}: {type(error).__name__}: {error}; {remedy}") from error
    if not isinstance(record, dict):
        raise ElmlffError(f"{path} contains {type(record).__name__}, expected a JSON object: {remedy}")
    if missing := sorted(set(keys) - set(record)):
        raise ElmlffError(f"{path} lacks {', '.join(missing)}: {remedy}")
    return record


def sha256_of(path: Path) -> str:
    """Return the SHA-256 hex digest of the contents of `path`; the file is read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Write the contents to disk before the file is renamed: after a power cut it could otherwise be empty."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
