"""Published values: the errors in the paper, and which errors of a run they resemble."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from elmlff_core.workflows.sweep.results import spearman

FILE = "published.json"


@dataclass(frozen=True)
class Published:
    """Force RMSEs per frame (Eq. 7) in the paper's tables and figures, eV/Å.

    Attributes
    ----------
    base_models : base model -> error, Table 1
    subsets : base models joined by ``+``, in the order of the study -> error, Table 2 or Figure 2
    variants : name of a variant of `gat` -> error, Table 3
    """

    base_models: Mapping[str, float]
    subsets: Mapping[str, float]
    variants: Mapping[str, float]

    @classmethod
    def of(cls, study: str) -> Published:
        """Read the values of one study, which come with elmlff."""
        text = (files("elmlff_core") / "workflows" / "reproduction" / FILE).read_text(encoding="utf-8")
        return cls(**json.loads(text)[study])


@dataclass(frozen=True)
class Resemblance:
    """Comparison of published errors with errors of this run on one split.

    Attributes
    ----------
    split : ``train``, ``valid`` or ``test``
    n : number of models with both errors
    ratio : median of the error of this run over the published error
    distance : median of the larger over the smaller of the two errors
    spearman : rank correlation, None for fewer than three models
    """

    split: str
    n: int
    ratio: float
    distance: float
    spearman: float | None


def resemblances(errors: Sequence[Mapping[str, float]], published: Sequence[float | None]) -> list[Resemblance]:
    """Compare errors with published ones, on training and on test structures; empty if none is published.

    Parameters
    ----------
    errors : for each model split -> error, eV/Å
    published : for each model the published error, eV/Å, or None
    """
    known = [(one, value) for one, value in zip(errors, published, strict=True) if value is not None]
    if not known:
        return []
    values = [value for _, value in known]
    found = []
    for split in ("train", "test"):
        ours = [one[split] for one, _ in known]
        ratios = [error / value for error, value in zip(ours, values, strict=True)]
        distance = statistics.median(max(ratio, 1 / ratio) for ratio in ratios)
        found.append(Resemblance(split, len(known), statistics.median(ratios), distance, spearman(ours, values)))
    return found
