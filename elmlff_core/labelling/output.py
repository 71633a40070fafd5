"""The files of a labelling, and what is said about it."""

from __future__ import annotations

from pathlib import Path

from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.writers import write_deepmd, write_structures
from elmlff_core.errors import ElmlffError
from elmlff_core.labelling.labelling import Labelling

EXTXYZ = (".extxyz", ".xyz")
MOST_SAID = 10  # failures in the terminal


def check_output(path: Path) -> None:
    """Raise ElmlffError if nothing can be written to `path` later, before long calculations begin."""
    if not path.absolute().parent.is_dir():
        raise ElmlffError(f"there is no folder {path.parent} for {path.name}: make it first")
    if path.suffix not in EXTXYZ and path.exists():
        raise ElmlffError(f"{path} exists: name a new folder for deepmd/npy, or a file that ends in .extxyz")


def failed_file(path: Path) -> Path:
    """Return the file for structures that have no labels, beside the one for those that have."""
    return path.with_name(f"{path.stem}-failed.extxyz")


def write_labelling(found: Labelling, path: Path) -> None:
    """Write labelled structures to an extxyz file or a deepmd/npy folder, and the others beside it.

    ElmlffError if nothing is labelled, or a file cannot be written.
    """
    if found.failed:
        write_structures(found.failed, failed_file(path))
    else:
        failed_file(path).unlink(missing_ok=True)
    if not found.labelled:
        first = next(iter(found.reasons.values()), "there were no structures")
        raise ElmlffError(f"no structure could be labelled: {first}; they are in {failed_file(path)}")
    if path.suffix in EXTXYZ:
        write_structures(found.labelled, path)
    else:
        write_deepmd(found.labelled, path)


def say_labelling(found: Labelling, path: Path, reporter: Reporter) -> None:
    """Say how many structures have labels, and why the others have none."""
    reporter.say(f"{len(found.labelled)} structures labelled: {path}")
    for index, reason in list(found.reasons.items())[:MOST_SAID]:
        reporter.warn(f"structure {index} failed: {reason}")
    if found.failed:
        more = len(found.failed) - MOST_SAID
        rest = f", {more} of them not named here" if more > 0 else ""
        reporter.warn(f"{len(found.failed)} structures failed{rest}: {failed_file(path)}")
