"""Extxyz files of published structures whose own format only elmlff reads."""

from __future__ import annotations

from elmlff_core.data.mlearn import read_mlearn
from elmlff_core.data.published.local_copy import LocalCopy
from elmlff_core.data.writers import write_structures
from elmlff_core.errors import DataError, ElmlffError


def convert(copy: LocalCopy) -> None:
    """Write an extxyz file beside each complete file of the format ``mlearn-json`` that has none yet.

    Raises
    ------
    DataError
        A file does not have its declared format, or the folder cannot be written.
    """
    for name in copy.splits:
        split, target = copy.dataset.parts[name], copy.path_of(name)
        if split.format != "mlearn-json" or target.exists():
            continue
        structures = read_mlearn(copy.folder / name / split.content)
        try:
            write_structures(structures, target)
        except DataError:
            raise
        except (OSError, ElmlffError) as error:
            raise DataError(f"cannot write {target}: {error}; --output or ELMLFF_DATA name another folder") from error
