"""LocalCopy: the files of a published dataset in a folder, and whether they are identical to the published ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from elmlff_core.data.published.catalogue import Facts, PublishedDataset, PublishedFile, total_frames
from elmlff_core.errors import DataError


def default_folder(dataset: PublishedDataset) -> Path:
    """Return the folder of the dataset: below ``$ELMLFF_DATA``, or below the platform's folder for data."""
    return Path(os.environ.get("ELMLFF_DATA") or platformdirs.user_data_dir("elmlff")) / "datasets" / dataset.name


def git_blob(path: Path) -> str:
    """Return git's blob hash of a file: the SHA-1 hex digest of ``blob``, the size, a zero byte, and the bytes.

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
    """Describe how the file at `path` differs from the published one, found and expected; "" if it does not."""
    found = git_blob(path)
    if found == facts.git_blob:
        return ""
    size = path.stat().st_size
    difference = "is not the published file" if facts.size is None or size >= facts.size else "is truncated"
    expected = "git hash" if facts.size is None else f"{facts.size} bytes with"
    return f"{difference}: {size} bytes with git hash {found}, expected {expected} {facts.git_blob}"


@dataclass(frozen=True)
class LocalCopy:
    """The files of `dataset` in `folder`.

    Attributes
    ----------
    here : paths of files that are present and identical to the published ones
    faults : path -> description of the fault, for files that are present but differ from the published ones
    """

    dataset: PublishedDataset
    folder: Path
    here: frozenset[str]
    faults: dict[str, str]

    @property
    def missing(self) -> list[PublishedFile]:
        """Files that are not present."""
        return [file for file in self.dataset.files() if file.path not in self.here and file.path not in self.faults]

    @property
    def complete(self) -> bool:
        """Whether every file is present and identical to the published one."""
        return not self.missing and not self.faults

    @property
    def splits(self) -> list[str]:
        """Names of the splits with at least one complete set."""
        return [split for split, names in whole_sets(self.dataset, self.here).items() if names]

    @property
    def n_frames(self) -> int | None:
        """Number of frames in all complete sets, None if that of a set is not known."""
        return total_frames(self.n_frames_of(split) for split in self.dataset.parts)

    def n_frames_of(self, split: str) -> int | None:
        """Return the number of frames in the complete sets of one split, None if that of a set is not known."""
        frames = self.dataset.parts[split].frames_by_set
        return total_frames(frames[name] for name in whole_sets(self.dataset, self.here)[split])

    def path_of(self, split: str) -> Path:
        """Return the path of one split for ``--data`` and for other programs: a folder or an extxyz file."""
        return self.folder / split / self.dataset.parts[split].for_users

    def require_no_faults(self) -> None:
        """Raise DataError if a file differs from the published one; the message names the first such file."""
        for path, problem in self.faults.items():
            raise DataError(
                f"{self.folder / path} {problem}; remove it, and `elmlff data get {self.dataset.name}` fetches it again"
            )


def examine(dataset: PublishedDataset, folder: Path) -> LocalCopy:
    """Read and hash the files in `folder`; nothing is written.

    Raises
    ------
    DataError
        A file cannot be read.
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
    """Return the names of complete sets, by split: all their files, including types of atoms, are among `paths`."""
    paths = set(paths)
    lacking = {(file.split, file.set_name) for file in dataset.files() if file.path not in paths}
    return {
        name: [] if (name, "") in lacking else [found for found in split.frames_by_set if (name, found) not in lacking]
        for name, split in dataset.parts.items()
    }


def split_content(dataset: PublishedDataset, split: str) -> tuple[Path, str]:
    """Return the folder or file of one split in the local copy of a dataset, and its name for messages.

    Raises
    ------
    DataError
        No set of the split is complete; a file differs from the published one; the folder has sets that were not
        published.
    """
    copy = examine(dataset, default_folder(dataset))
    copy.require_no_faults()
    name = f"{dataset.name}/{split}"
    if split not in copy.splits:
        raise DataError(f"'{name}' is not in {copy.folder}: `elmlff data get {dataset.name}` fetches it")
    folder = copy.folder / split
    complete = whole_sets(dataset, copy.here)[split]
    if others := sorted(found.name for found in folder.glob("set.*") if found.name not in complete):
        raise DataError(
            f"{folder / others[0]} is not a complete set of {name}: if it was published, `elmlff data get "
            f"{dataset.name}` fetches its missing files; if it was not published, remove it"
        )
    if len(complete) < len(dataset.parts[split].frames_by_set):
        n_frames, n_published = copy.n_frames_of(split), dataset.n_frames_of(split)
        name += f" ({', '.join(complete)} alone: {n_frames} of {n_published} frames)"
    return folder / dataset.parts[split].content, name
