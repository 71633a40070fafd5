"""Tables of a distillation, for its page and for the screen."""

from __future__ import annotations

from collections.abc import Sequence

from elmlff_core.distillation.comparison import MADE, TEST
from elmlff_core.report.page import Table
from elmlff_core.workflows.distill.inputs import Distillation
from elmlff_core.workflows.distill.results import DistillResults

GROUPS = {TEST: "reference", MADE: "made"}


def plan_table(inputs: Distillation) -> Table:
    """Return how many structures come from where, before anything is made."""
    rows = [[name, f"{number:,}"] for name, number in inputs.counts]
    caption = f"Structures to learn from. Made ones are kept with {inputs.limits}."
    return Table(("source", "at most"), rows, caption)


def tables(results: DistillResults) -> Sequence[Table]:
    """Return the tables beside that of the errors."""
    return [_kept(results), _lessons(results), _speeds(results), *_furthest(results)]


def _kept(results: DistillResults) -> Table:
    rows = [
        [one.name, *(f"{number:,}" for number in (one.n_made, one.n_close, one.n_strong, one.n_uncertain, one.n_kept))]
        for one in results.kept
    ]
    head = ("source", "made", "too close", "large forces", "not sure", "kept")
    return Table(head, rows, "Made structures, and why some were left out.")


def _lessons(results: DistillResults) -> Table:
    rows = [
        [one.name, f"{one.n_reference:,}", f"{one.n_made:,}", f"{one.steps:,}", f"{one.epochs:,.0f}"]
        for one in results.lessons
    ]
    head = ("model", "reference labels", "labels of the stack", "steps", "epochs")
    return Table(head, rows, "Structures that student and control were trained on.")


def _speeds(results: DistillResults) -> Table:
    slowest = results.speeds[0].seconds
    rows = [
        [one.name, f"{1000 * one.seconds:.3g}", f"{one.ns_per_day:.3g}", f"{slowest / one.seconds:.3g}"]
        for one in results.speeds
    ]
    caption = "Steps of molecular dynamics in ASE, one model after the other in the same run, the shortest of many."
    return Table(("model", "ms a step", "ns/day", "times the stack"), rows, caption)


def _furthest(results: DistillResults) -> list[Table]:
    if not results.furthest:
        return []
    rows = [
        [
            f"{GROUPS[one.group]} {one.index}",
            one.formula,
            f"{one.expected:.4f}",
            f"{one.outside:.2f}",
            f"{one.found:.4f}",
        ]
        for one in results.furthest
    ]
    head = ("structure", "formula", "expected error", "outside", "RMSE")
    caption = (
        "Where the student leaves its data: held-out structures with the largest calibrated error of an atom, eV/Å. "
        "Outside is above 1 where an atom is unlike all that it has learnt from; RMSE is the error that was found."
    )
    return [Table(head, rows, caption, text_columns=2)]


def statements(results: DistillResults) -> list[str]:
    """Return what is known of energy and uncertainty of the student, in words."""
    found = []
    if (kept := results.conservation) is not None:
        found.append(
            f"Without a thermostat the student's total energy drifts by {kept.drift:.3g} meV/ps per atom and "
            f"fluctuates by {kept.fluctuation:.3g} meV per atom ({kept.picoseconds:g} ps from {kept.temperature:g} K)."
        )
    if (sure := results.sureness) is not None:
        found.append(
            f"The student's standard deviations are {sure.predicted:.4f} eV/Å (RMS) on held-out reference structures, "
            f"its errors {sure.observed:.4f}; its intervals for 90 % contain {100 * sure.inside:.0f} %, and "
            f"{sure.n_outside} of {sure.n_structures} structures lie outside what it has learnt from."
        )
    return found
