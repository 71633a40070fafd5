"""The verdict: what the table says in words, where the stack does not pay included."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elmlff_core.evaluation.model_errors import Row

# Meta-models that are controls of every run, with the titles of their rows.
CONTROLS = {"mean": "mean of the bases", "linear": "least squares per element"}
# Relative; a network that stayed at the mix it starts from would else beat it by rounding alone.
NO_DIFFERENCE = 5e-4


def verdict(rows: Sequence[Row]) -> str:
    """Whether the chosen stack beats the best base and the best control on test structures, and by how much.

    Where there is a control without base features, also what the ensemble of bases gains over it.
    """
    stack = next(row for row in rows if row.chosen)
    rivals = [row for row in rows if row.kind != "stack" or (row.meta in CONTROLS and row is not stack)]
    bases, controls = [row for row in rivals if row.kind == "base"], [row for row in rivals if row.kind != "base"]
    named = (("the best base", bases), ("the best control", controls))
    comparisons = [_comparison(stack, title, group) for title, group in named if group]
    beats = all(stack.headline < (1 - NO_DIFFERENCE) * row.headline for row in rivals)
    opening = f"{stack.name}{_chosen(rows)}: test error {with_spread(stack, 'test', 'rmse_per_frame')} eV/Å, "
    closing = "." if beats else ": the stack does not pay here."
    return opening + " and ".join(comparisons) + closing + _gain(stack, rows)


def with_spread(row: Row, part: str, metric: str) -> str:
    """An error in eV/Å with four digits, and its spread over seeds where there is one."""
    spread = f" ±{row.spread[part][metric]:.4f}" if row.spread else ""
    return f"{row.errors[part][metric]:.4f}{spread}"


def in_sample_note(rows: Sequence[Row], models: Sequence[str]) -> str:
    """What in-sample features mean, with the measured gap between training and test error of each of `models`."""
    gaps = [
        f"{row.name} {row.errors['train']['rmse_per_frame']:.4f} on training and {row.headline:.4f} on test structures"
        for row in rows
        if row.kind == "base" and row.name in models
    ]
    return (
        f"features of {', '.join(models)} on training structures are in-sample: these bases were trained on the "
        "structures the meta-model learns from, which sees smaller errors than it will meet "
        f"({', '.join(gaps)}, eV/Å); --folds K gives it out-of-fold features"
    )


def _chosen(rows: Sequence[Row]) -> str:
    n_stacks = sum(row.kind == "stack" for row in rows)
    return f", of {n_stacks} chosen on validation" if n_stacks > 1 else ""


def _comparison(stack: Row, title: str, group: Sequence[Row]) -> str:
    best = min(group, key=lambda row: row.headline)
    change = stack.headline / best.headline - 1
    relation = f"{100 * abs(change):.1f} % {'below' if change < 0 else 'above'}"
    if abs(change) <= NO_DIFFERENCE:
        relation = "the same as"
    return f"{relation} {title} ({best.name}, {best.headline:.4f})"


def _gain(stack: Row, rows: Sequence[Row]) -> str:
    """What the bases bring: the difference to the same meta-model without them, seed by seed."""
    control = next((row for row in rows if row.kind == "control" and row.meta == stack.meta), None)
    if control is None:
        return ""
    gains = control.headlines - stack.headlines
    gain, spread = gains.mean(), gains.std(ddof=1) if len(gains) > 1 else 0.0
    amount = f"{abs(gain):.4f}" + (f" ±{spread:.4f}" if len(gains) > 1 else "")
    reached = f"which reaches {with_spread(control, 'test', 'rmse_per_frame')}"
    if gain <= 0:
        return f" The bases bring nothing: the error is {amount} eV/Å above that of {control.name}, {reached}."
    doubt = ", no more than the spread over seeds" if np.abs(gain) <= spread else ""
    return f" The bases bring {amount} eV/Å{doubt}: the difference to {control.name}, {reached}."
