"""LocalCopy: which files of a published dataset are in a folder, and whether they are what was published."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from elmlff_core.data.published.catalogue import Facts, PublishedDataset, PublishedFile
from elmlff_core.errors import DataError


def default_folder(dataset: PublishedDataset) -> Path:
    """Where the dataset is kept: below ``$ELMLFF_DATA``, or the platform's folder for data."""
    return Path(os.environ.get("ELMLFF_DATA") or platformdirs.user_data_dir("elmlff")) / "datasets" / dataset.name


def git_blob(path: Path) -> str:
    """Hex digest by which git knows the content: SHA-1 of ``blob``, the size, a zero byte, and the bytes.

    Raises
    ------
    DataError
        The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size, usedforsecurity=False)
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


def fault(path: Path, facts: Facts) -> str:
    """What of the file at `path` is not as published, found against expected; empty where all is."""
    found = git_blob(path)
    if found == facts.git_blob:
        return ""
    size = path.stat().st_size
    verdict = "is truncated" if size < facts.size else "is not the published file"
    return f"{verdict}: {size} bytes with git hash {found}, expected {facts.size} bytes with {facts.git_blob}"


@dataclass(frozen=True)
class LocalCopy:
    """What of `dataset` is in `folder`.

    Attributes
    ----------
    here : paths of files that are there and as published
    faults : what is wrong with files that are there and are not, by path
    """

    dataset: PublishedDataset
    folder: Path
    here: frozenset[str]
    faults: dict[str, str]

    @property
    def missing(self) -> list[PublishedFile]:
        """Files that are not there."""
        return [file for file in self.dataset.files() if file.path not in self.here and file.path not in self.faults]

    @property
    def complete(self) -> bool:
        """Whether every file is there, as published."""
        return not self.missing and not self.faults

    @property
    def n_frames(self) -> int:
        """Frames of all sets that are there as a whole."""
        return sum(self.n_frames_of(part) for part in self.dataset.parts)

    def n_frames_of(self, part: str) -> int:
        """Frames of the sets of one part that are there as a whole."""
        sets = self.dataset.parts[part].sets
        return sum(sets[name].frames for name in whole_sets(self.dataset, self.here)[part])

    def require_no_faults(self) -> None:
        """DataError, naming the first file that is not as published."""
        for path, problem in self.faults.items():
            raise DataError(
                f"{self.folder / path} {problem}; remove it, and `elmlff data get {self.dataset.name}` fetches it again"
            )


def examine(dataset: PublishedDataset, folder: Path) -> LocalCopy:
    """Read and hash what is in `folder`; nothing is written.

    Raises
    ------
    DataError
        A file that is there cannot be read.
    """
    present = {file.path: fault(folder / file.path, file.facts) for file in dataset.files() if _is_file(folder, file)}
    here = frozenset(path for path, problem in present.items() if not problem)
    return LocalCopy(dataset, folder, here, {path: problem for path, problem in present.items() if problem})


def _is_file(folder: Path, file: PublishedFile) -> bool:
    try:
        return (folder / file.path).is_file()
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}") from error


def whole_sets(dataset: PublishedDataset, paths: Iterable[str]) -> dict[str, list[str]]:
    """Names of the sets, by part, all of whose files, types of atoms included, are among `paths`."""
    paths = set(paths)
    return {
        name: [
            set_name
            for set_name, frames in part.sets.items()
            if paths.issuperset(f"{name}/{set_name}/{file}" for file in frames.files)
            and paths.issuperset(f"{name}/{file}" for file in part.types)
        ]
        for name, part in dataset.parts.items()
    }


def part_folder(dataset: PublishedDataset, part: str) -> tuple[Path, str]:
    """Folder of one part of a dataset that is here, for a reader, and what to call it in messages.

    Raises
    ------
    DataError
        No set of it is here as a whole; a file is not as published; the folder holds sets that were not published.
    """
    copy = examine(dataset, default_folder(dataset))
    copy.require_no_faults()
    name = f"{dataset.name}/{part}"
    n_frames, n_published = copy.n_frames_of(part), dataset.parts[part].n_frames
    if not n_frames:
        raise DataError(f"'{name}' is not in {copy.folder}: `elmlff data get {dataset.name}` fetches it")
    folder = copy.folder / part
    whole = whole_sets(dataset, copy.here)[part]
    if odd := sorted(found.name for found in folder.glob("set.*") if found.name not in whole):
        raise DataError(
            f"{folder / odd[0]} is no whole set of {name}: `elmlff data get {dataset.name}` fetches what is missing of "
            "a published one; remove one that was not published"
        )
    if n_frames < n_published:
        name += f" ({', '.join(whole)} alone: {n_frames} of {n_published} frames)"
    return folder, name
