"""Results of a distillation: everything that its page shows, as plain data and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from elmlff_core.distillation.comparison import MADE, TEST, Furthest
from elmlff_core.evaluation.model_errors import ModelErrors
from elmlff_core.files import write_record
from elmlff_core.settings.run_folder import RunFolder
from elmlff_core.workflows.distill.motion import Conservation, Speed
from elmlff_core.workflows.distill.structures import Kept

RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class Lesson:
    """What one student was trained on, and for how long."""

    name: str
    n_reference: int
    n_made: int
    steps: int
    epochs: float


@dataclass(frozen=True)
class Sureness:
    """The student's uncertainty on held-out reference structures.

    Attributes
    ----------
    predicted, observed : eV/Å, RMS of the calibrated standard deviations, and of the errors
    inside : share of the errors within the normal interval of 90 %
    n_outside : structures with an atom outside what it has learnt from
    n_structures : all of them
    """

    predicted: float
    observed: float
    inside: float
    n_outside: int
    n_structures: int


@dataclass(frozen=True)
class DistillResults:
    """Results of a distillation.

    Attributes
    ----------
    summary : the errors in words
    kept : what became of the structures that were made
    lessons : what student and control were trained on
    errors : errors of all models on held-out structures
    speeds : time of a step of each
    conservation : energy of the student in molecular dynamics; None without an energy
    sureness : uncertainty of the student; None without held-out reference structures
    furthest : held-out structures of which the student is least sure
    program : program for which inputs were written, or None
    notes : notes for the reader
    """

    summary: str
    kept: list[Kept]
    lessons: list[Lesson]
    errors: list[ModelErrors]
    speeds: list[Speed]
    conservation: Conservation | None
    sureness: Sureness | None
    furthest: list[Furthest]
    program: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def splits(self) -> tuple[str, ...]:
        """The groups of held-out structures on which there are errors."""
        return tuple(split for split in (TEST, MADE) if any(split in model.errors for model in self.errors))

    def as_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def write_results(results: DistillResults, run: RunFolder) -> None:
    """Write ``results.json``, which marks the distillation as complete."""
    units = {"forces": "eV/Å", "energy": "eV/atom", "stress": "eV/Å³", "drift": "meV/ps per atom"}
    write_record(run.path / RESULTS_FILE, results.as_record() | {"units": units}, indent=1)


def summary_of(errors: Sequence[ModelErrors], speeds: Sequence[Speed]) -> str:
    """Compare the student with the stack and the control, in error and speed."""
    by_kind = {model.kind: model for model in errors if model.kind in ("stack", "student", "control")}
    split = TEST if TEST in by_kind["student"].errors else MADE
    where = "on held-out reference structures" if split == TEST else "against the stack on held-out made structures"
    found = {kind: model.errors[split]["rmse_per_frame"] for kind, model in by_kind.items() if split in model.errors}
    parts = []
    if "stack" in found:
        parts.append(f"{found['student'] / found['stack']:.2f} times that of the stack ({found['stack']:.4f})")
    if "control" in found:
        change = 100 * (1 - found["student"] / found["control"])
        side = "below" if change >= 0 else "above"
        parts.append(f"{abs(change):.0f} % {side} that of the control ({found['control']:.4f})")
    seconds = {speed.name: speed.seconds for speed in speeds}
    times = seconds[by_kind["stack"].name] / seconds[by_kind["student"].name]
    error = f"{by_kind['student'].name}: force error {found['student']:.4f} eV/Å {where}"
    return f"{', '.join([error, *parts])}; a step takes {times:.3g} times less time than with the stack."


def advice(errors: Sequence[ModelErrors]) -> list[str]:
    """Say what to do where the student errs more against the stack than the stack itself errs; else nothing."""
    by_kind = {model.kind: model.errors for model in errors}
    student, stack = by_kind["student"].get(MADE), by_kind["stack"].get(TEST)
    if student is None or stack is None or student["rmse_per_frame"] <= stack["rmse_per_frame"]:
        return []
    return [
        f"The student errs by {student['rmse_per_frame']:.4f} eV/Å against the stack, more than the stack itself errs "
        f"({stack['rmse_per_frame']:.4f}): train it for longer, or take a larger one, before more structures are made."
    ]
