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
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from elmlff_core.errors import ElmlffError

SEAL = "sha256"  # the key with the hash of all other keys
VERSION = "format_version"  # a key that a format may have
FORMAT_VERSION = 1  # of all records


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


def write_record(path: Path, record: Mapping[str, Any], indent: int | None = None) -> None:
    """Write a JSON object that `read_record` reads, with the hash of its contents; ElmlffError if that fails."""
    plain: dict[str, Any] = json.loads(json.dumps(record))  # as it will be read: keys are strings, tuples are lists
    plain.pop(SEAL, None)
    write_json(path, {**plain, SEAL: _digest(plain)}, indent)


def read_record[Shape](path: Path, shape: type[Shape], remedy: str = "restore it or remove it") -> Shape:
    """Read a JSON object that `write_record` wrote: the one reader of the files from which later commands go on.

    Parameters
    ----------
    path : the file
    shape : a TypedDict or another type that pydantic validates
    remedy : for the message, what to do if the file cannot be used

    Raises
    ------
    ElmlffError
        The file is missing, is not such an object, has changed since it was written, comes from a newer elmlff, or has
        a value of a wrong type; the message has its name, what is wrong and the remedy.
    """
    record = read_json(path, (SEAL,), remedy)
    sealed = record.pop(SEAL)
    if sealed != _digest(record):
        raise ElmlffError(f"{path} has changed since elmlff wrote it: {remedy}")
    if record.get(VERSION, 0) not in range(FORMAT_VERSION + 1):
        raise ElmlffError(f"{path} has format {record[VERSION]}, expected at most {FORMAT_VERSION}: upgrade elmlff")
    try:
        return TypeAdapter(shape).validate_python(record)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise ElmlffError(f"'{place}' in {path}: {problem['msg']}, found {problem['input']!r:.80}; {remedy}") from error


def digests_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of all files in `folder`, by their paths in it."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): sha256_of(path) for path in paths}


def check_digests(folder: Path, digests: Mapping[str, str], remedy: str) -> None:
    """Check that the files in `folder` have these `digests`; ElmlffError names one that is missing or has changed."""
    for name, expected in digests.items():
        if not (folder / name).is_file() or sha256_of(folder / name) != expected:
            raise ElmlffError(f"{folder / name} is missing or has changed since elmlff wrote it: {remedy}")


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def is_whole_archive(path: Path) -> bool:
    """Return whether `path` is a zip archive, as torch writes, whose contents fit its checksums; torch checks none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return False


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
