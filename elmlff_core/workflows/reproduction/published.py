"""Published values: the errors of ensembles in the paper, and their comparison with training and test errors.

The values of its figures are not part of elmlff; they are read from a file, ``{"dp1+nep": 0.0123, ...}`` in eV/Å.
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
    """Return the file of published values beside the data in `origin`, or None if there is none."""
    folders = [] if origin is None else [origin / study.name, origin]
    return next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)


def read_published(study: Study, path: Path | None) -> dict[str, float]:
    """Return subset, with its models in the order of the study, -> error in eV/Å, from the paper's text and `path`.

    Raises
    ------
    DataError
        The file cannot be read, or names models that are not in the study.
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
        models = {model.strip() for model in name.split("+")}
        if unknown := sorted(models - set(study.models)):
            raise DataError(f"{path} names {', '.join(unknown)}, which are not in the study of {study.name}")
        found[subset_name(tuple(model for model in study.models if model in models))] = value
    return found


def _positive(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{value} is not a positive number")
    return number


def published_name(entry: SubsetErrors, study: Study) -> str | None:
    """Return the name of a subset in `read_published`; None if a base model of it is not in the study."""
    if not set(entry.subset) <= set(study.models):
        return None
    return subset_name(tuple(model for model in study.models if model in entry.subset))


@dataclass(frozen=True)
class Resemblance:
    """Comparison of published errors with errors of this run on one split.

    Attributes
    ----------
    split : ``train``, ``valid`` or ``test``
    n_subsets : number of subsets with both errors
    ratio : median of the error of this run over the published error
    distance : median of the larger over the smaller of the two errors
    spearman : rank correlation, None for fewer than three subsets
    """

    split: str
    n_subsets: int
    ratio: float
    distance: float
    spearman: float | None


def resemblances(entries: Sequence[SubsetErrors], published: Mapping[str, float], study: Study) -> list[Resemblance]:
    """Compare `entries` with published errors, on training and on test structures; empty if there are none."""
    pairs = [(entry, published.get(published_name(entry, study) or "")) for entry in entries]
    known = [(entry, value) for entry, value in pairs if value is not None]
    if not known:
        return []
    published_errors = [value for _, value in known]
    found = []
    for split in ("train", "test"):
        errors = [entry.errors[split] for entry, _ in known]
        ratios = [error / value for error, value in zip(errors, published_errors, strict=True)]
        distance = statistics.median(max(ratio, 1 / ratio) for ratio in ratios)
        rank_correlation = spearman(errors, published_errors)
        found.append(Resemblance(split, len(known), statistics.median(ratios), distance, rank_correlation))
    return found
