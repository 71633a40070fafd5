"""Get a published dataset from the network or from a folder, and check every file before it gets its final name."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from filelock import FileLock

from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.data.published.catalogue import PublishedDataset, PublishedFile
from elmlff_core.data.published.download import download
from elmlff_core.data.published.local_copy import LocalCopy, default_folder, examine, fault, git_blob, whole_sets
from elmlff_core.errors import DataError, ElmlffError
from elmlff_core.files import refuse_links, replacing

Fetch = Callable[[Path, Callable[[int], None]], None]


def obtain(
    dataset: PublishedDataset,
    folder: Path | None = None,
    origin: Path | None = None,
    reporter: Reporter | None = None,
) -> LocalCopy:
    """Get the files of `dataset` that are not in `folder` yet.

    Finished files are kept, so that a second call resumes an interrupted one.  A file that differs from the published
    one is never overwritten.  If all files are present, nothing is written and no network is needed.

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
        return copy
    fetches = dict(_fetches(copy, origin, reporter))
    if fetches:
        with _locked(folder):
            # Another process may have got some of the files while this one waited for the lock.
            missing = [file for file in examine(dataset, folder).missing if file.path in fetches]
            _fetch_all(missing, fetches, folder, f"{dataset.name}: getting {len(missing)} files", reporter)
    return examine(dataset, folder)


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
        expected = " or ".join(_split_folders(copy.dataset, next(iter(copy.dataset.parts))))
        raise DataError(f"no complete set of {copy.dataset.name} is in {origin}: expected one below {expected} in it")
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
    done, total = 0, sum(file.facts.size for file in files)
    with reporter.progress(title) as progress:
        for file in files:

            def report(n_bytes: int, before: int = done, file: PublishedFile = file) -> None:
                progress(Progress(before + min(n_bytes, file.facts.size), total, file.path))

            report(0)
            _fetch(file, folder / file.path, fetches[file.path], report)
            done += file.facts.size
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


def _locked(folder: Path) -> FileLock:
    """Return a lock so that one process writes at a time; the others wait and then find the files present."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_links(folder, [".lock"])
        (folder / ".lock").touch()
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error}; --output or ELMLFF_DATA name another folder") from error
    return FileLock(folder / ".lock")


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
    for folder in _split_folders(dataset, file.split):
        if (origin / folder).is_dir():
            inside = Path(file.path).relative_to(file.split)
            others = sorted((origin / folder).glob(f"set.*/{inside.name}")) if file.set_name else []
            yield from filter(Path.is_file, [origin / folder / inside, *others])
            return


def _split_folders(dataset: PublishedDataset, split: str) -> tuple[str, ...]:
    """Return the possible paths of a split in a folder to copy from: those of the repository and of `obtain`."""
    return dataset.parts[split].folder, f"{dataset.name}/{split}", f"{dataset.short_name}/{split}", split


def _nearest(path: Path, file: PublishedFile, files: list[PublishedFile]) -> PublishedFile:
    """Guess the published file that a damaged file was: same name, same split, and the most similar size."""
    size, name = path.stat().st_size, Path(file.path).name
    candidates = [other for other in files if other.split == file.split and Path(other.path).name == name]
    return min(candidates, key=lambda other: abs(other.facts.size - size))


def _of_whole_sets(dataset: PublishedDataset, paths: Iterable[str]) -> set[str]:
    """Return those of `paths` that belong to complete sets."""
    paths = set(paths)
    complete = whole_sets(dataset, paths)
    return {
        file.path
        for file in dataset.files()
        if file.path in paths and (file.set_name in complete[file.split] if file.set_name else complete[file.split])
    }
