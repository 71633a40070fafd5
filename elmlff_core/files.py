"""Writing files so that each is complete or not there at all, and never through a link that somebody planted.

A file is written in a temporary folder beside it, and replaces the target once it is complete on disk.  After a killed
run, a full disk or a second writer, the target is the old file or the new one, never half of a file.  What a killed
writer has left is removed by the next one.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import math
import os
import platform
import secrets
import shutil
import time
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from elmlff_core.errors import ElmlffError
from elmlff_core.locks import Timeout, acquired, lock_at, locked

SEAL = "sha256"  # the key with the hash of all other keys
VERSION = "format_version"  # a key that a format may have
FORMAT_VERSION = 1  # of all records
PARTIAL = ".partial"
LOCK = "writer.lock"
ABANDONED = 24 * 3600  # s after which no writer on another machine can still be at work


@contextmanager
def replacing(path: Path, flush: bool = True) -> Iterator[Path]:
    """Yield a path to write to; it replaces `path` at the end of the block, or is removed if the block fails.

    The yielded path has the same name in a temporary folder of its own, because libraries choose the format by the name
    or write temporary files beside it.  Writers on several machines that share a folder do not meet; the last one wins.
    A folder may be written instead of a file, where `path` does not exist.  A symbolic link at `path` is replaced, not
    followed.

    Parameters
    ----------
    path : the file or folder
    flush : whether to wait until it is on disk, about 10 ms; without this, it may be empty after a power cut

    Raises
    ------
    ElmlffError
        The file cannot be written or replaced: no permission, no space, no such folder, a device.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ElmlffError(f"cannot write {path}: it is a device or a pipe, expected the name of a file")
        _remove_leftovers(path)
        with _temporary_folder(path) as folder:
            partial = folder / path.name
            yield partial
            if flush:
                _flush(partial)
            if partial.is_file():  # some libraries write files that only their owner may read
                partial.chmod(folder.stat().st_mode & 0o666)
            os.replace(partial, path)
    except OSError as error:
        raise ElmlffError(f"cannot write {path}: {error.strerror or error}") from error


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path`; raise ElmlffError if that fails."""
    with replacing(path) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8; raise ElmlffError if that fails."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write `value` to `path` as JSON; raise ElmlffError if that fails."""
    write_text(path, json.dumps(value, indent=indent))


def read_numbers(path: Path, columns: Collection[str]) -> list[dict[str, float]]:
    """Return the rows of a table of numbers that `write_csv` wrote, by the titles of its columns.

    Raises
    ------
    ElmlffError
        The table cannot be read, lacks one of `columns`, or has something that is no number; the message has its name.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{title: float(value) for title, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, csv.Error) as error:  # wrong UTF-8 is a ValueError, a missing cell is None
        raise ElmlffError(f"cannot read {path}: {error}; remove it, and the same command goes on without it") from error
    if rows and (missing := sorted(set(columns) - set(rows[0]))):
        raise ElmlffError(f"{path} lacks {', '.join(missing)}; remove it, and the same command goes on without it")
    return rows


def json_text(value: Any, indent: int | None = 1) -> str:
    """Return `value` as JSON for other programs: numbers that are not finite, which JSON does not have, become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def write_csv(path: Path, rows: Iterable[Iterable[object]], flush: bool = True) -> None:
    """Write `rows`, the first of which has the titles, to `path` as CSV; `flush` as in `replacing`."""
    with replacing(path, flush) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


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


def refuse_links(folder: Path, parts: Collection[str] = ()) -> None:
    """Refuse to write into `folder` if a symbolic link in it leads out of it.

    A folder from somebody else could otherwise make elmlff write to any place of its user.  `folder` itself may be a
    link.

    Parameters
    ----------
    folder : the folder that will be written
    parts : names in `folder` to which the check is limited; all if empty

    Raises
    ------
    ElmlffError
        There is such a link; the message names it.
    """
    inside = folder.resolve()
    for place, folders, files in os.walk(folder):
        if parts and Path(place) == folder:
            folders[:] = [name for name in folders if name in parts]
            files = [name for name in files if name in parts]
        for path in (Path(place, name) for name in (*folders, *files)):
            if path.is_symlink() and not _resolved(path).is_relative_to(inside):
                raise ElmlffError(
                    f"{path} is a symbolic link to {os.readlink(path)}, outside of {folder}: elmlff does not write "
                    "through it; remove the link"
                )


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links that lead to each other
        return Path(os.readlink(path))


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """Make a folder beside `path`, locked as long as it is in use, and remove it with its contents."""
    while True:
        folder = path.with_name(f"{temporary_prefix(path)}{secrets.token_hex(4)}{PARTIAL}")
        folder.mkdir()
        lock = lock_at(folder / LOCK, wait=False)
        try:
            acquired(lock)
            break
        except (Timeout, FileNotFoundError, FileExistsError):  # another writer has taken the new folder for a leftover
            continue
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary folders of writers of `path` that were killed: nobody holds their locks.

    Locks may not reach other machines that write here, and some file systems have none: such folders go when they are
    old.
    """
    for name in os.listdir(path.parent):
        if not (name.startswith(f".{path.name}.") and name.endswith(PARTIAL)):
            continue
        folder = path.with_name(name)
        with contextlib.suppress(OSError, Timeout), locked(folder / LOCK, wait=False) as held:
            of_this_machine = held and name.startswith(temporary_prefix(path))
            if of_this_machine or time.time() - folder.stat().st_mtime > ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)


def temporary_prefix(path: Path) -> str:
    """Return the beginning of the names of temporary folders for `path` that are made on this machine."""
    return f".{path.name}.{zlib.crc32(platform.node().encode()):08x}-"


def _flush(path: Path) -> None:
    """Write the contents to disk before the file is renamed: after a power cut it could otherwise be empty."""
    for found in (path, *path.rglob("*")):
        if found.is_file():
            with found.open("rb+") as file:
                os.fsync(file.fileno())


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
