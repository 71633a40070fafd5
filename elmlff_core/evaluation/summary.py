"""The summary: what the table of errors says in words, also where the stack does not pay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elmlff_core.evaluation.baselines import BASELINES
from elmlff_core.evaluation.model_errors import ModelErrors

# Relative; a network that stayed at the linear combination it starts from would otherwise beat it by rounding alone.
NO_DIFFERENCE = 5e-4


def summary(errors: Sequence[ModelErrors]) -> str:
    """Whether the chosen stack beats the best base model and the best baseline on test structures, and by how much.

    Where the same meta-model was fitted to geometry only, also what the base models bring.
    """
    stack = next(row for row in errors if row.chosen)
    rivals = [row for row in errors if row.kind != "stack" or (row.meta in BASELINES and row is not stack)]
    models = [row for row in rivals if row.kind == "base model"]
    others = [row for row in rivals if row.kind != "base model"]
    named = (("the best base model", models), ("the best baseline", others))
    comparisons = [_comparison(stack, title, group) for title, group in named if group]
    beats = all(stack.headline < (1 - NO_DIFFERENCE) * row.headline for row in rivals)
    opening = f"{stack.name}{_chosen(errors)}: test error {with_seed_std(stack, 'test', 'rmse_per_frame')} eV/Å, "
    closing = "." if beats else ": the stack does not pay here."
    return opening + " and ".join(comparisons) + closing + _gain(stack, errors)


def with_seed_std(row: ModelErrors, split: str, metric: str) -> str:
    """An error in eV/Å with four digits, and its standard deviation over seeds where there are several."""
    std = f" ±{row.seed_std[split][metric]:.4f}" if row.seed_std else ""
    return f"{row.errors[split][metric]:.4f}{std}"


def in_sample_note(errors: Sequence[ModelErrors], models: Sequence[str]) -> str:
    """What in-sample features mean, with the measured gap between training and test error of each of `models`."""
    gaps = [
        f"{row.name} {row.errors['train']['rmse_per_frame']:.4f} on training and {row.headline:.4f} on test structures"
        for row in errors
        if row.kind == "base model" and row.name in models
    ]
    return (
        f"features of {', '.join(models)} on training structures are in-sample: these base models were trained on the "
        "structures the meta-model learns from, which sees smaller errors than it will meet "
        f"({', '.join(gaps)}, eV/Å); --folds K gives it out-of-fold features"
    )


def _chosen(errors: Sequence[ModelErrors]) -> str:
    n_stacks = sum(row.kind == "stack" for row in errors)
    return f", of {n_stacks} chosen on validation" if n_stacks > 1 else ""


def _comparison(stack: ModelErrors, title: str, group: Sequence[ModelErrors]) -> str:
    best = min(group, key=lambda row: row.headline)
    change = stack.headline / best.headline - 1
    relation = f"{100 * abs(change):.1f} % {'below' if change < 0 else 'above'}"
    if abs(change) <= NO_DIFFERENCE:
        relation = "the same as"
    return f"{relation} {title} ({best.name}, {best.headline:.4f})"


def _gain(stack: ModelErrors, errors: Sequence[ModelErrors]) -> str:
    """What the base models bring: the difference to the same meta-model without them, seed by seed."""
    geometry = next((row for row in errors if row.kind == "baseline" and row.meta == stack.meta), None)
    if geometry is None:
        return ""
    gains = geometry.headlines - stack.headlines
    gain, std = gains.mean(), gains.std(ddof=1) if len(gains) > 1 else 0.0
    amount = f"{abs(gain):.4f}" + (f" ±{std:.4f}" if len(gains) > 1 else "")
    reached = f"which reaches {with_seed_std(geometry, 'test', 'rmse_per_frame')}"
    if gain <= 0:
        return f" The base models bring nothing: the error is {amount} eV/Å above that of {geometry.name}, {reached}."
    doubt = ", no more than the standard deviation over seeds" if np.abs(gain) <= std else ""
    return f" The base models bring {amount} eV/Å{doubt}: the difference to {geometry.name}, {reached}."
