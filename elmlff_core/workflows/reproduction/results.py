"""Results of a reproduction: everything its tables and figures are made of, as plain data and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from elmlff_core.evaluation.model_errors import Row
from elmlff_core.settings.config import Config
from elmlff_core.workflows.ablation.results import VariantRow
from elmlff_core.workflows.ablation.results import verdict as ablation_verdict
from elmlff_core.workflows.reproduction.published import Resemblance, published_name, resemblances
from elmlff_core.workflows.reproduction.studies import TARGET, Study
from elmlff_core.workflows.sweep.results import Sweep
from elmlff_core.workflows.sweep.results import verdict as sweep_verdict
from elmlff_core.workflows.sweep.subset_errors import Entry
from elmlff_core.workflows.sweep.subsets import subset_name

FORMAT_VERSION = 1
FEWEST_SUBSETS = 3  # to say what published values resemble
PART_TITLES = {"train": "training frames", "test": "unseen frames"}


@dataclass(frozen=True)
class BaseRow:
    """Errors of one base, and where it comes from."""

    row: Row
    origin: str


@dataclass(frozen=True)
class Reproduction:
    """What a reproduction found.

    Attributes
    ----------
    study : the paper's
    config : with all that the budget decided
    published : subset -> error in eV/Å
    frames : part -> frames that were here, and that were published
    bases : Table 1
    sweep : Table 2 and Figure 2
    ablation : Table 3, None where it was left out
    energies : part -> (n,) reference energies in eV, Figure 3
    counts : part -> number of structures
    """

    study: Study
    config: Config
    published: Mapping[str, float]
    frames: Mapping[str, tuple[int, int]]
    bases: Sequence[BaseRow]
    sweep: Sweep
    ablation: Sequence[VariantRow] | None
    energies: Mapping[str, np.ndarray] = field(repr=False)
    counts: Mapping[str, int]

    def published_for(self, entry: Entry) -> float | None:
        """What the paper gives for the subset of `entry`."""
        name = published_name(entry, self.study)
        return None if name is None else self.published.get(name)

    @property
    def compared_way(self) -> str | None:
        """The way whose errors are compared with published ones: `each` where it knows a subset of theirs."""
        ways = [way for way in ("each", "amortised") if any(map(self.published_for, self.sweep.of(way)))]
        return ways[0] if ways else None

    @property
    def resemblances(self) -> list[Resemblance]:
        """Of published errors to those of the compared way."""
        entries = [] if self.compared_way is None else self.sweep.of(self.compared_way)
        return resemblances(entries, self.published, self.study)

    def verdicts(self) -> list[str]:
        """The findings in sentences."""
        found = [sweep_verdict(self.sweep, way) for way in self.sweep.ways]
        if self.ablation is not None:
            found.append(ablation_verdict(self.ablation))
        return [*found, *self._resemblance_in_words()]

    def _resemblance_in_words(self) -> list[str]:
        close = self.resemblances
        if not close:
            return []
        if close[0].n_subsets < FEWEST_SUBSETS:
            return [_beside(entry, value) for entry in self.sweep.entries if (value := self._compared(entry))]
        ratios = " and ".join(f"{entry.ratio:.3g} times on {PART_TITLES[entry.part]}" for entry in close)
        nearest = min(close, key=lambda entry: entry.distance)
        return [
            f"Errors by {self.compared_way} are {ratios} what the paper gives (medians of {close[0].n_subsets} "
            f"subsets): its values are nearer to errors on {PART_TITLES[nearest.part]}."
        ]

    def _compared(self, entry: Entry) -> float | None:
        """The published error, of entries of the compared way alone."""
        return self.published_for(entry) if entry.way == self.compared_way else None

    def differences(self) -> list[tuple[str, str, str]]:
        """What is set up otherwise than in the paper: what, there, here."""
        study, config = self.study, self.config
        missing = [name for name in study.models if name not in config.stack]
        rows = [
            ("bases", ", ".join(study.models), ", ".join(config.stack)),
            *([("bases left out", "none", ", ".join(missing))] if missing else []),
            *(("base " + base.row.name, "trained by the authors", base.origin) for base in self.bases),
            ("target of gat", TARGET, str(config.meta.get("target"))),
            ("epochs of gat", str(study.paper_epochs), str(config.training.epochs)),
        ]
        for part, (here, published) in self.frames.items():
            rows.append((f"{part} frames", f"{published:,}", f"{here:,}" if here else "none here"))
        held_out = "given by the authors" if config.data.test is not None else "held out of the training frames"
        rows.append(
            (
                "errors are over",
                "the last tenth of the frames that were trained on, in the authors' script",
                f"{self.counts['test']:,} unseen frames, {held_out}, and training frames beside them",
            )
        )
        rows.append(("state of gat", "not told", f"the best on {self.counts['valid']:,} validation frames"))
        return [row for row in rows if row[1] != row[2]]

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "format_version": FORMAT_VERSION,
            "units": {"errors": "eV/Å, RMSE per frame", "energies": "eV"},
            "study": self.study.name,
            "verdicts": self.verdicts(),
            "differences": [dict(zip(("what", "paper", "here"), row, strict=True)) for row in self.differences()],
            "frames": {part: {"here": here, "published": known} for part, (here, known) in self.frames.items()},
            "counts": dict(self.counts),
            "table_1": [
                {"name": base.row.name, "origin": base.origin, "errors": base.row.errors} for base in self.bases
            ],
            "table_2": [entry.as_record() | {"published": self.published_for(entry)} for entry in self.sweep.entries],
            "agreement": [asdict(entry) for entry in self.sweep.agreements()],
            "resemblance": [asdict(entry) for entry in self.resemblances],
            "table_3": None if self.ablation is None else [asdict(row) for row in self.ablation],
            "figure_3": {part: [float(energy) for energy in values] for part, values in self.energies.items()},
        }


def _beside(entry: Entry, published: float) -> str:
    """A published error beside ours, in words."""
    ours = " and ".join(f"{entry.errors[part]:.4f} on {title}" for part, title in PART_TITLES.items())
    return f"For {subset_name(entry.subset)} the paper gives {published:g} eV/Å; {entry.way} finds {ours}."
