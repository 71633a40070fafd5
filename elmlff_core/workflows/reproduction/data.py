"""The data of a study: got where they are not here, and taken as far as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.published.local_copy import LocalCopy, default_folder, examine
from elmlff_core.data.published.obtain import obtain
from elmlff_core.errors import DataError
from elmlff_core.workflows.reproduction.studies import Study


def study_data(study: Study, origin: Path | None, reporter: Reporter) -> dict[str, Any]:
    """Settings that name the splits of the data that are here.

    What is missing is got; where that cannot be and some training structures are here, they are what is studied.

    Parameters
    ----------
    study : whose data
    origin : a folder to copy from instead of the network
    reporter : told what is here and what is not

    Raises
    ------
    DataError
        The data cannot be had, or are not as published.
    """
    dataset = study.dataset
    copy = examine(dataset, default_folder(dataset))
    copy.require_no_faults()
    if not copy.complete:
        try:
            copy = obtain(dataset, origin=origin, reporter=reporter)
        except DataError as error:
            copy = examine(dataset, default_folder(dataset))
            if not copy.n_frames_of("train"):
                raise
            reporter.warn(f"{error}; going on with what is here")
    for part, (n_frames, n_published) in _frames(copy).items():
        if n_frames < n_published:
            reporter.warn(f"{dataset.name}/{part}: {n_frames} of {n_published} published frames are here")
    return {"train": dataset.name, **({"test": f"{dataset.name}/test"} if copy.n_frames_of("test") else {})}


def frames_here(study: Study) -> dict[str, tuple[int, int]]:
    """Split -> frames that are here, and frames that were published."""
    return _frames(examine(study.dataset, default_folder(study.dataset)))


def _frames(copy: LocalCopy) -> dict[str, tuple[int, int]]:
    return {name: (copy.n_frames_of(name), part.n_frames) for name, part in copy.dataset.parts.items()}
