"""Get a published dataset from the network or from a folder, and check every file before it gets its final name."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.data.published.catalogue import FileSplit, PublishedDataset, PublishedFile
from elmlff_core.data.published.conversion import convert
from elmlff_core.data.published.download import download
from elmlff_core.data.published.local_copy import LocalCopy, default_folder, examine, fault, git_blob, whole_sets
from elmlff_core.errors import DataError, ElmlffError
from elmlff_core.files import refuse_links, replacing
from elmlff_core.locks import locked

Fetch = Callable[[Path, Callable[[int], None]], None]


def obtain(
    dataset: PublishedDataset,
    folder: Path | None = None,
    origin: Path | None = None,
    reporter: Reporter | None = None,
) -> LocalCopy:
    """Get the files of `dataset` that are not in `folder` yet.

    Finished files are kept, so that a second call resumes an interrupted one.  A file that differs from the published
    one is never overwritten.  If all files are present, nothing is written and no network is needed.  Files that only
    elmlff reads get an extxyz file beside them.

    Parameters
    ----------
    dataset : the dataset to get
    folder : target folder; None takes `default_folder`
    origin : a folder to copy from instead of the network; files of incomplete sets are left out with a warning
    reporter : shows the progress

    Raises
    ------
    DataError
        A file, local or received, differs from the published one; the network does not answer; `origin` has no complete
        set; the folder cannot be written.
    """
    folder = folder or default_folder(dataset)
    reporter = reporter or Reporter()
    copy = examine(dataset, folder)
    copy.require_no_faults()
    if copy.complete:
        convert(copy)
        return copy
    fetches = dict(_fetches(copy, origin, reporter))
    if fetches:
        with _locked(folder):
            # Another process may have got some of the files while this one waited for the lock.
            missing = [file for file in examine(dataset, folder).missing if file.path in fetches]
            _fetch_all(missing, fetches, folder, f"{dataset.name}: getting {len(missing)} files", reporter)
    copy = examine(dataset, folder)
    convert(copy)
    return copy


def _fetches(copy: LocalCopy, origin: Path | None, reporter: Reporter) -> Iterator[tuple[str, Fetch]]:
    """Yield for each missing file its path and a function that gets it."""
    if origin is None:
        for file in copy.missing:
            yield file.path, _downloading(copy.dataset, file)
        return
    found = _found_in(origin, copy.dataset)
    usable = _of_whole_sets(copy.dataset, found.keys() | copy.here)
    for path in sorted(found.keys() - usable):
        reporter.warn(f"{found[path]} is left out: other files of its set are not in {origin}")
    if not found or not usable:
        name, split = next(iter(copy.dataset.parts.items()))
        expected = " or ".join(str(Path(folder) / split.content) for folder in _split_folders(copy.dataset, name))
        raise DataError(f"no complete set or file of {copy.dataset.name} is in {origin}: expected {expected} in it")
    for file in copy.missing:
        if file.path in usable:
            yield file.path, _copying(found[file.path])


def _downloading(dataset: PublishedDataset, file: PublishedFile) -> Fetch:
    url = f"{dataset.url.rstrip('/')}/{file.remote}"
    return lambda target, report: download(url, target, file.facts.size, report)


def _copying(source: Path) -> Fetch:
    def fetch(target: Path, report: Callable[[int], None]) -> None:
        shutil.copyfile(source, target)

    return fetch


def _fetch_all(
    files: list[PublishedFile], fetches: dict[str, Fetch], folder: Path, title: str, reporter: Reporter
) -> None:
    done, total = 0, sum(file.facts.size or 0 for file in files)  # a file of unknown size does not move the bar
    with reporter.progress(title) as progress:
        for file in files:
            size = file.facts.size or 0

            def report(n_bytes: int, before: int = done, size: int = size, path: str = file.path) -> None:
                progress(Progress(before + min(n_bytes, size), total, path))

            report(0)
            _fetch(file, folder / file.path, fetches[file.path], report)
            done += size
            progress(Progress(done, total, file.path))


def _fetch(file: PublishedFile, target: Path, fetch: Fetch, report: Callable[[int], None]) -> None:
    """Get one file under a temporary name, check it, and rename it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            fetch(partial, report)
            if problem := fault(partial, file.facts):
                raise DataError(
                    f"{file.remote} as received {problem}; it was removed: try again, or get the repository in another "
                    "way and name its folder with --from"
                )
    except DataError:
        raise
    except (OSError, ElmlffError) as error:
        raise DataError(f"cannot write {target}: {error}; --output or ELMLFF_DATA name another folder") from error


def _locked(folder: Path) -> AbstractContextManager[bool]:
    """Return a lock so that one process writes at a time; the others wait and then find the files present."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_links(folder, [".lock"])
        (folder / ".lock").touch()
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error}; --output or ELMLFF_DATA name another folder") from error
    return locked(folder / ".lock")


def _found_in(origin: Path, dataset: PublishedDataset) -> dict[str, Path]:
    """Find files of the dataset below `origin` by their contents: sets may have other numbers than in the repository.

    Raises
    ------
    DataError
        `origin` is not a folder; a file in the place of one of the dataset has other contents than all of them.
    """
    if not origin.is_dir():
        raise DataError(
            f"{origin} is not a folder: --from takes a copy of the repository {dataset.source}, or of the data"
        )
    files = list(dataset.files())
    known = {file.facts.git_blob for file in files}
    blob = cache(git_blob)  # the same file is compared with several published ones
    found = {}
    for file in files:
        for path in _candidates(origin, dataset, file):
            if blob(path) == file.facts.git_blob:
                found[file.path] = path
                break
            if blob(path) not in known:
                raise DataError(f"{path} {fault(path, _nearest(path, file, files).facts)}; get it again")
    return found


def _candidates(origin: Path, dataset: PublishedDataset, file: PublishedFile) -> Iterator[Path]:
    """Yield paths that may hold this file: the path itself, then the same name in sets with other numbers."""
    inside = Path(file.path).relative_to(file.split)
    for folder in (origin / name for name in _split_folders(dataset, file.split)):
        others = sorted(folder.glob(f"set.*/{inside.name}")) if len(inside.parts) > 1 else []
        if found := [path for path in (folder / inside, *others) if path.is_file()]:
            yield from found
            return


def _split_folders(dataset: PublishedDataset, split: str) -> tuple[str, ...]:
    """Return the possible paths of a split in a folder to copy from: those of the repository and of `obtain`.

    A split that is one file may also lie in a folder with the name of the dataset, or in the folder itself.
    """
    part = dataset.parts[split]
    folders = (part.folder, *(f"{name}/{split}" for name in dataset.names), split)
    return (*folders, *dataset.names, "") if isinstance(part, FileSplit) else folders


def _nearest(path: Path, file: PublishedFile, files: list[PublishedFile]) -> PublishedFile:
    """Guess the published file that a damaged file was: same name, same split, and the most similar size."""
    size, name = path.stat().st_size, Path(file.path).name
    candidates = [other for other in files if other.split == file.split and Path(other.path).name == name]
    return min(candidates, key=lambda other: abs((other.facts.size or 0) - size))


def _of_whole_sets(dataset: PublishedDataset, paths: Iterable[str]) -> set[str]:
    """Return those of `paths` that belong to complete sets."""
    paths = set(paths)
    complete = whole_sets(dataset, paths)
    return {
        file.path
        for file in dataset.files()
        if file.path in paths and (file.set_name in complete[file.split] if file.set_name else complete[file.split])
    }
