"""Results of a reproduction: the data of its tables and figures, as plain data and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from elmlff_core.evaluation.model_errors import ModelErrors
from elmlff_core.settings.config import Config
from elmlff_core.workflows.ablation.results import Ablation
from elmlff_core.workflows.reproduction.published import Published, Resemblance, resemblances
from elmlff_core.workflows.reproduction.studies import TARGET, Study
from elmlff_core.workflows.sweep.results import Sweep
from elmlff_core.workflows.sweep.results import summary as sweep_summary
from elmlff_core.workflows.sweep.subset_errors import SubsetErrors
from elmlff_core.workflows.sweep.subsets import subset_name

FORMAT_VERSION = 1
TABLE_1, TABLE_2, TABLE_3 = "Table 1, base models", "Table 2 and Figure 2, subsets", "Table 3, ablation"
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
    published : errors in the paper
    frames : split -> number of frames on this machine and number of published frames
    base_models : errors of the base models, Table 1
    sweep : results of the sweep, Table 2 and Figure 2
    ablation : results of the ablation, Table 3, or None if there was none
    energies : split -> (n,) reference energies in eV, Figure 3
    counts : split -> number of structures
    """

    study: Study
    config: Config
    published: Published
    frames: Mapping[str, tuple[int, int]]
    base_models: Sequence[BaseModelErrors]
    sweep: Sweep
    ablation: Ablation | None
    energies: Mapping[str, np.ndarray] = field(repr=False)
    counts: Mapping[str, int]

    def published_for(self, entry: SubsetErrors) -> float | None:
        """Return the published error of the subset of `entry`, eV/Å, or None."""
        if not set(entry.subset) <= set(self.study.models):
            return None
        return self.published.subsets.get(subset_name(tuple(one for one in self.study.models if one in entry.subset)))

    @property
    def compared_method(self) -> str | None:
        """Method that is compared with published errors: per-subset if it has a published subset, otherwise masked."""
        methods = [method for method in ("per-subset", "masked") if any(map(self.published_for, self.sweep.of(method)))]
        return methods[0] if methods else None

    @property
    def resemblances(self) -> dict[str, list[Resemblance]]:
        """Comparison of published errors with those of this run, for each table that has both."""
        entries = [] if self.compared_method is None else self.sweep.of(self.compared_method)
        bases = [base.errors for base in self.base_models]
        variants = [] if self.ablation is None else self.ablation.variants
        rmses = [{split: one["rmse_per_frame"] for split, one in base.errors.items()} for base in bases]
        found = {
            TABLE_1: resemblances(rmses, [self.published.base_models.get(base.name) for base in bases]),
            TABLE_2: resemblances([entry.errors for entry in entries], list(map(self.published_for, entries))),
            TABLE_3: resemblances(
                [one.errors for one in variants], [self.published.variants.get(one.name) for one in variants]
            ),
        }
        return {table: close for table, close in found.items() if close}

    def summaries(self) -> list[str]:
        """Return the results in sentences."""
        found = [sweep_summary(self.sweep, method) for method in self.sweep.methods]
        if self.ablation is not None:
            found.append(self.ablation.summary)
        return [*found, *self._comparison_in_words()]

    def _comparison_in_words(self) -> list[str]:
        found = []
        for table, close in self.resemblances.items():
            method = f", by {self.compared_method}" if table == TABLE_2 else ""
            ratios = " and ".join(f"{entry.ratio:.3g} times (on {FRAME_TITLES[entry.split]})" for entry in close)
            nearest = min(close, key=lambda entry: entry.distance)
            found.append(
                f"{table}{method}: errors are {ratios} the published errors (medians of {close[0].n}), which are "
                f"closer to the errors on {FRAME_TITLES[nearest.split]}."
            )
        return found

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
                {
                    "name": base.errors.name,
                    "origin": base.origin,
                    "errors": base.errors.errors,
                    "published": self.published.base_models.get(base.errors.name),
                }
                for base in self.base_models
            ],
            "table_2": [entry.as_record() | {"published": self.published_for(entry)} for entry in self.sweep.entries],
            "agreement": [asdict(entry) for entry in self.sweep.agreements()],
            "resemblance": {table: [asdict(entry) for entry in close] for table, close in self.resemblances.items()},
            "table_3": None
            if self.ablation is None
            else [
                asdict(variant) | {"published": self.published.variants.get(variant.name)}
                for variant in self.ablation.variants
            ],
            "figure_3": {split: [float(energy) for energy in values] for split, values in self.energies.items()},
        }
