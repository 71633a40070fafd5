"""Data of a study: missing files are downloaded; if that fails, the files on this machine are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.published.local_copy import LocalCopy, default_folder, examine
from elmlff_core.data.published.obtain import obtain
from elmlff_core.errors import DataError
from elmlff_core.workflows.reproduction.studies import Study


def study_data(study: Study, origin: Path | None, reporter: Reporter) -> dict[str, Any]:
    """Return settings that name the available splits of the data.

    Missing files are copied or downloaded.  If that fails, the study uses the structures on this machine, as long as
    there are training structures.

    Parameters
    ----------
    study : the study
    origin : folder to copy from instead of downloading
    reporter : receives messages and progress

    Raises
    ------
    DataError
        There are no training structures, or files differ from the published ones.
    """
    dataset = study.dataset
    copy = examine(dataset, default_folder(dataset))
    copy.require_no_faults()
    if not copy.complete:
        try:
            copy = obtain(dataset, origin=origin, reporter=reporter)
        except DataError as error:
            copy = examine(dataset, default_folder(dataset))
            if "train" not in copy.splits:
                raise
            reporter.warn(f"{error}; continuing with the frames on this machine")
    for split, (n_frames, n_published) in _frames(copy).items():
        if n_frames < n_published:
            reporter.warn(
                f"{dataset.name}/{split}: only {n_frames} of {n_published} published frames are on this machine"
            )
    return {"train": dataset.name, **({"test": f"{dataset.name}/test"} if "test" in copy.splits else {})}


def frames_here(study: Study) -> dict[str, tuple[int, int]]:
    """Return split -> number of frames on this machine and number of published frames."""
    return _frames(examine(study.dataset, default_folder(study.dataset)))


def _frames(copy: LocalCopy) -> dict[str, tuple[int, int]]:
    numbers = {name: (copy.n_frames_of(name), copy.dataset.n_frames_of(name)) for name in copy.dataset.parts}
    return {name: (here, total) for name, (here, total) in numbers.items() if here is not None and total is not None}
