"""Results of a reproduction: the data of its tables and figures, as plain data and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from elmlff_core.evaluation.model_errors import ModelErrors
from elmlff_core.settings.config import Config
from elmlff_core.workflows.ablation.results import Ablation
from elmlff_core.workflows.reproduction.published import Resemblance, published_name, resemblances
from elmlff_core.workflows.reproduction.studies import TARGET, Study
from elmlff_core.workflows.sweep.results import Sweep
from elmlff_core.workflows.sweep.results import summary as sweep_summary
from elmlff_core.workflows.sweep.subset_errors import SubsetErrors
from elmlff_core.workflows.sweep.subsets import subset_name

FORMAT_VERSION = 1
FEWEST_SUBSETS = 3  # for a comparison of published values with training and test errors
FRAME_TITLES = {"train": "training frames", "test": "unseen frames"}


@dataclass(frozen=True)
class BaseModelErrors:
    """Errors of one base model, and the origin of its checkpoint."""

    errors: ModelErrors
    origin: str


@dataclass(frozen=True)
class Reproduction:
    """Results of a reproduction.

    Attributes
    ----------
    study : study of the paper
    config : settings, including those decided by the budget
    published : subset -> published error in eV/Å
    frames : split -> number of frames on this machine and number of published frames
    base_models : errors of the base models, Table 1
    sweep : results of the sweep, Table 2 and Figure 2
    ablation : results of the ablation, Table 3, or None if there was none
    energies : split -> (n,) reference energies in eV, Figure 3
    counts : split -> number of structures
    """

    study: Study
    config: Config
    published: Mapping[str, float]
    frames: Mapping[str, tuple[int, int]]
    base_models: Sequence[BaseModelErrors]
    sweep: Sweep
    ablation: Ablation | None
    energies: Mapping[str, np.ndarray] = field(repr=False)
    counts: Mapping[str, int]

    def published_for(self, entry: SubsetErrors) -> float | None:
        """Return the published error of the subset of `entry`, eV/Å, or None."""
        name = published_name(entry, self.study)
        return None if name is None else self.published.get(name)

    @property
    def compared_method(self) -> str | None:
        """Method that is compared with published errors: per-subset if it has a published subset, otherwise masked."""
        methods = [method for method in ("per-subset", "masked") if any(map(self.published_for, self.sweep.of(method)))]
        return methods[0] if methods else None

    @property
    def resemblances(self) -> list[Resemblance]:
        """Comparison of published errors with those of the compared method."""
        entries = [] if self.compared_method is None else self.sweep.of(self.compared_method)
        return resemblances(entries, self.published, self.study)

    def summaries(self) -> list[str]:
        """Return the results in sentences."""
        found = [sweep_summary(self.sweep, method) for method in self.sweep.methods]
        if self.ablation is not None:
            found.append(self.ablation.summary)
        return [*found, *self._comparison_in_words()]

    def _comparison_in_words(self) -> list[str]:
        close = self.resemblances
        if not close:
            return []
        if close[0].n_subsets < FEWEST_SUBSETS:
            return [_comparison(entry, value) for entry in self.sweep.entries if (value := self._compared(entry))]
        ratios = " and ".join(f"{entry.ratio:.3g} times (on {FRAME_TITLES[entry.split]})" for entry in close)
        nearest = min(close, key=lambda entry: entry.distance)
        return [
            f"Errors by {self.compared_method} are {ratios} the published errors (medians of {close[0].n_subsets} "
            f"subsets): the published errors are closer to the errors on {FRAME_TITLES[nearest.split]}."
        ]

    def _compared(self, entry: SubsetErrors) -> float | None:
        """Return the published error if `entry` belongs to the compared method."""
        return self.published_for(entry) if entry.method == self.compared_method else None

    def differences(self) -> list[tuple[str, str, str]]:
        """Return the settings that differ from the paper: name, value in the paper, value in this run."""
        study, config = self.study, self.config
        missing = [name for name in study.models if name not in config.base_models]
        rows = [
            ("base models", ", ".join(study.models), ", ".join(config.base_models)),
            *([("omitted base models", "none", ", ".join(missing))] if missing else []),
            *(("base model " + base.errors.name, "trained by the authors", base.origin) for base in self.base_models),
            ("target of gat", TARGET, str(config.meta.get("target"))),
            ("epochs of gat", str(study.paper_epochs), str(config.training.epochs)),
        ]
        for split, (here, published) in self.frames.items():
            rows.append((f"{split} frames", f"{published:,}", f"{here:,}" if here else "none"))
        held_out = "given by the authors" if config.data.test is not None else "held out of the training frames"
        rows.append(
            (
                "frames for errors",
                "the last tenth of the training frames, in the authors' script",
                f"{self.counts['test']:,} unseen frames, {held_out}, and also training frames",
            )
        )
        rows.append(("state of gat", "not given", f"the best on {self.counts['valid']:,} validation frames"))
        return [row for row in rows if row[1] != row[2]]

    def as_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "format_version": FORMAT_VERSION,
            "units": {"errors": "eV/Å, RMSE per frame", "energies": "eV"},
            "study": self.study.name,
            "summaries": self.summaries(),
            "differences": [dict(zip(("what", "paper", "here"), row, strict=True)) for row in self.differences()],
            "frames": {split: {"here": here, "published": known} for split, (here, known) in self.frames.items()},
            "counts": dict(self.counts),
            "table_1": [
                {"name": base.errors.name, "origin": base.origin, "errors": base.errors.errors}
                for base in self.base_models
            ],
            "table_2": [entry.as_record() | {"published": self.published_for(entry)} for entry in self.sweep.entries],
            "agreement": [asdict(entry) for entry in self.sweep.agreements()],
            "resemblance": [asdict(entry) for entry in self.resemblances],
            "table_3": None if self.ablation is None else [asdict(variant) for variant in self.ablation.variants],
            "figure_3": {split: [float(energy) for energy in values] for split, values in self.energies.items()},
        }


def _comparison(entry: SubsetErrors, published: float) -> str:
    """Compare a published error with the errors of this run in words."""
    errors = " and ".join(f"{entry.errors[split]:.4f} on {title}" for split, title in FRAME_TITLES.items())
    return (
        f"The published error of {subset_name(entry.subset)} is {published:g} eV/Å; the errors by {entry.method} are "
        f"{errors}."
    )
