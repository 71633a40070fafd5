"""Obtain: get a published dataset, over the network or out of a folder, every file checked before it has its name."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from filelock import FileLock

from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.data.published.catalogue import PublishedDataset, PublishedFile
from elmlff_core.data.published.download import download
from elmlff_core.data.published.local_copy import LocalCopy, default_folder, examine, fault, git_blob, whole_sets
from elmlff_core.errors import DataError

Fetch = Callable[[Path, Callable[[int], None]], None]


def obtain(
    dataset: PublishedDataset,
    folder: Path | None = None,
    origin: Path | None = None,
    reporter: Reporter | None = None,
) -> LocalCopy:
    """Put into `folder` what of `dataset` is not there yet.

    A file that was finished stays, so that the same call goes on where an interrupted one stopped; one that is there
    and is not as published is never written over.  Where all is there nothing is written and no network is needed.

    Parameters
    ----------
    dataset : what to get
    folder : to put it in; `default_folder` where None
    origin : a folder to copy from instead of the network; what is not in it is left out, and said
    reporter : told of progress

    Raises
    ------
    DataError
        A file that is not as published, there or on its way; no answer from the network; nothing in `origin`; a folder
        that cannot be written.
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
            # Another process may have got some of it while this one waited.
            missing = [file for file in examine(dataset, folder).missing if file.path in fetches]
            _fetch_all(missing, fetches, folder, f"{dataset.name}: getting {len(missing)} files", reporter)
    return examine(dataset, folder)


def _fetches(copy: LocalCopy, origin: Path | None, reporter: Reporter) -> Iterator[tuple[str, Fetch]]:
    """How to get each missing file, by its path."""
    if origin is None:
        for file in copy.missing:
            yield file.path, _downloading(copy.dataset, file)
        return
    found = _found_in(origin, copy.dataset)
    usable = _of_whole_sets(copy.dataset, found.keys() | copy.here)
    for path in sorted(found.keys() - usable):
        reporter.warn(f"{found[path]} is left out: other files of its set are not in {origin}")
    if not found or not usable:
        expected = " or ".join(_part_folders(copy.dataset, next(iter(copy.dataset.parts))))
        raise DataError(f"no whole set of {copy.dataset.name} is in {origin}: expected one below {expected} in it")
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
    """Get one file under another name, check it, and only then give it its own."""
    partial = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch(partial, report)
        if problem := fault(partial, file.facts):
            raise DataError(
                f"{file.remote} as it came {problem}; nothing was kept of it: try again, or get the repository another "
                "way and name its folder with --from"
            )
        os.replace(partial, target)
    except OSError as error:
        raise DataError(f"cannot write {target}: {error}; --output or ELMLFF_DATA name another folder") from error
    finally:
        with contextlib.suppress(OSError):  # the folder itself may be what fails
            partial.unlink()


def _locked(folder: Path) -> FileLock:
    """One process at a time writes: the others wait, then find the files there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error}; --output or ELMLFF_DATA name another folder") from error
    return FileLock(folder / ".lock")


def _found_in(origin: Path, dataset: PublishedDataset) -> dict[str, Path]:
    """Files of the dataset below `origin`, by content: sets may be numbered otherwise than in the repository.

    Raises
    ------
    DataError
        `origin` is no folder; a file stands where one of the dataset should, and is none of it.
    """
    if not origin.is_dir():
        raise DataError(
            f"{origin} is no folder: --from takes a copy of the repository {dataset.source}, or of the data"
        )
    files = list(dataset.files())
    known = {file.facts.git_blob for file in files}
    blob = cache(git_blob)  # a file is a candidate for several
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
    """Files that may be this one: in its place, then of the same name in sets of other numbers."""
    for folder in _part_folders(dataset, file.part):
        if (origin / folder).is_dir():
            inside = Path(file.path).relative_to(file.part)
            others = sorted((origin / folder).glob(f"set.*/{inside.name}")) if file.set_name else []
            yield from filter(Path.is_file, [origin / folder / inside, *others])
            return


def _part_folders(dataset: PublishedDataset, part: str) -> tuple[str, ...]:
    """Where a part may be below a folder to copy from: as in the repository, or as `obtain` lays it out."""
    return dataset.parts[part].folder, f"{dataset.name}/{part}", f"{dataset.short_name}/{part}", part


def _nearest(path: Path, file: PublishedFile, files: list[PublishedFile]) -> PublishedFile:
    """What a damaged file most likely was: that of the same name and part whose size is nearest."""
    size, name = path.stat().st_size, Path(file.path).name
    alike = [other for other in files if other.part == file.part and Path(other.path).name == name]
    return min(alike, key=lambda other: abs(other.facts.size - size))


def _of_whole_sets(dataset: PublishedDataset, paths: Iterable[str]) -> set[str]:
    """Those of `paths` that belong to a set which is among them as a whole."""
    paths = set(paths)
    whole = whole_sets(dataset, paths)
    return {
        file.path
        for file in dataset.files()
        if file.path in paths and (file.set_name in whole[file.part] if file.set_name else whole[file.part])
    }
