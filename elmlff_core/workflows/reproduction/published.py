"""Published values: the errors the paper gives for its ensembles, and which of ours they are nearest to.

Those of its figures are not part of elmlff: a file holds them, ``{"dp1+nep": 0.0123, ...}`` in eV/Å.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elmlff_core.errors import DataError
from elmlff_core.workflows.reproduction.studies import Study
from elmlff_core.workflows.sweep.results import spearman
from elmlff_core.workflows.sweep.subset_errors import SubsetErrors
from elmlff_core.workflows.sweep.subsets import subset_name

FILE = "figure2.json"


def find_published(study: Study, origin: Path | None) -> Path | None:
    """The file of published values that lies with the data in `origin`, if any."""
    folders = [] if origin is None else [origin / study.name, origin]
    return next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)


def read_published(study: Study, path: Path | None) -> dict[str, float]:
    """Subset, its models in the order of the study, -> error in eV/Å: from the paper's text, and from `path`.

    Raises
    ------
    DataError
        The file cannot be read, or names models that the study does not have.
    """
    found = dict(study.published)
    if path is None:
        return found
    try:
        raw = json.loads(path.read_text())
        values = {name: _positive(value) for name, value in raw.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f'cannot read published values from {path}: {error}; expected {{"dp1+nep": 0.01, ...}}'
        ) from error
    for name, value in values.items():
        models = {part.strip() for part in name.split("+")}
        if unknown := sorted(models - set(study.models)):
            raise DataError(f"{path} names {', '.join(unknown)}, which the study of {study.name} does not have")
        found[subset_name(tuple(model for model in study.models if model in models))] = value
    return found


def _positive(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{value} is no error")
    return number


def published_name(entry: SubsetErrors, study: Study) -> str | None:
    """How `read_published` calls the subset of an entry; None where the study lacks one of its base models."""
    if not set(entry.subset) <= set(study.models):
        return None
    return subset_name(tuple(model for model in study.models if model in entry.subset))


@dataclass(frozen=True)
class Resemblance:
    """How near published errors are to ours over one set of structures.

    Attributes
    ----------
    split : ``train``, ``valid`` or ``test``
    n_subsets : for which both are known
    ratio : median of ours over published
    distance : median factor, at least one, between ours and published
    spearman : rank correlation, None for fewer than three subsets
    """

    split: str
    n_subsets: int
    ratio: float
    distance: float
    spearman: float | None


def resemblances(entries: Sequence[SubsetErrors], published: Mapping[str, float], study: Study) -> list[Resemblance]:
    """Of the errors of `entries` on training and on test structures; empty where nothing was published for them."""
    pairs = [(entry, published.get(published_name(entry, study) or "")) for entry in entries]
    known = [(entry, value) for entry, value in pairs if value is not None]
    if not known:
        return []
    theirs = [value for _, value in known]
    found = []
    for split in ("train", "test"):
        ours = [entry.errors[split] for entry, _ in known]
        ratios = [mine / value for mine, value in zip(ours, theirs, strict=True)]
        distance = statistics.median(max(ratio, 1 / ratio) for ratio in ratios)
        found.append(Resemblance(split, len(known), statistics.median(ratios), distance, spearman(ours, theirs)))
    return found
