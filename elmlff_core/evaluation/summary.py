"""Summary: the table of errors in words, also if the stack is no better than a base model or baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elmlff_core.contracts.features import Features
from elmlff_core.evaluation.baselines import BASELINES
from elmlff_core.evaluation.model_errors import ModelErrors
from elmlff_core.features.energies import base_stresses
from elmlff_core.features.metrics import labelled_stresses

# Relative difference.  A network that stays at the linear combination it starts from must not beat it by rounding.
NO_DIFFERENCE = 5e-4


def summary(errors: Sequence[ModelErrors]) -> str:
    """Compare the test error of the chosen stack with the best base model and the best baseline.

    If the same meta-model was also fitted to geometry only, the summary has the contribution of the base models.
    """
    stack = next(model for model in errors if model.chosen)
    compared = [model for model in errors if model.kind != "stack" or (model.meta in BASELINES and model is not stack)]
    base_models = [model for model in compared if model.kind == "base model"]
    baselines = [model for model in compared if model.kind != "base model"]
    named = (("the best base model", base_models), ("the best baseline", baselines))
    comparisons = [_comparison(stack, title, group) for title, group in named if group]
    is_best = all(stack.headline < (1 - NO_DIFFERENCE) * model.headline for model in compared)
    opening = f"{stack.name}{_chosen(errors)}: test error {with_seed_std(stack, 'test', 'rmse_per_frame')} eV/Å, "
    closing = "." if is_best else ": the stack is not the best model here."
    return opening + " and ".join(comparisons) + closing + _gain(stack, errors)


def with_seed_std(model: ModelErrors, split: str, metric: str, scale: float = 1.0, digits: int = 4) -> str:
    """Format an error times `scale` with some digits, and its standard deviation over seeds if there are several.

    A metric that the model does not have, such as the stress error of a model without stresses, is a dash.
    """
    if metric not in model.errors.get(split, {}):
        return "–"
    std = f" ±{scale * model.seed_std[split][metric]:.{digits}f}" if model.seed_std else ""
    return f"{scale * model.errors[split][metric]:.{digits}f}{std}"


def unused_stresses_note(train: Features) -> str:
    """Explain why no stack can use the stress labels of its training structures; "" if it can, or there are none."""
    if not len(labelled_stresses(train)) or base_stresses(train, train.models) is not None:
        return ""
    if not all(atoms.pbc.all() for atoms in train.structures):
        reason = "some structures are not periodic in all directions, and base models then give no stress of any"
        return f"the stress labels are not used: {reason}. A stack of the periodic ones alone would use them"
    missing = [name for name in train.models if name not in train.stresses]
    names = ", ".join(missing)
    return f"the stress labels are not used: {names} gives no stress. A stack without it would use them"


def in_sample_note(errors: Sequence[ModelErrors], models: Sequence[str]) -> str:
    """Explain in-sample features, with training and test error of each of `models`."""
    gaps = [
        f"{one.name} {one.errors['train']['rmse_per_frame']:.4f} on training and {one.headline:.4f} on test structures"
        for one in errors
        if one.kind == "base model" and one.name in models
    ]
    return (
        f"features of {', '.join(models)} on training structures are in-sample: these base models were trained on the "
        "structures from which the meta-model learns, so their errors there are smaller than on unseen structures "
        f"({', '.join(gaps)}, eV/Å); use --folds K for out-of-fold features"
    )


def _chosen(errors: Sequence[ModelErrors]) -> str:
    n_stacks = sum(model.kind == "stack" for model in errors)
    return f", best of {n_stacks} stacks on validation" if n_stacks > 1 else ""


def _comparison(stack: ModelErrors, title: str, group: Sequence[ModelErrors]) -> str:
    best = min(group, key=lambda model: model.headline)
    difference = stack.headline - best.headline
    relation = "the same as"
    if abs(difference) > NO_DIFFERENCE * best.headline:
        # There are no per cents of an error of zero, as that of the linear combination where all forces are zero.
        amount = f"{100 * abs(difference) / best.headline:.1f} %" if best.headline else f"{abs(difference):.4f} eV/Å"
        relation = f"{amount} {'below' if difference < 0 else 'above'}"
    return f"{relation} {title} ({best.name}, {best.headline:.4f})"


def _gain(stack: ModelErrors, errors: Sequence[ModelErrors]) -> str:
    """Return the contribution of the base models: the difference to the same meta-model without them, over seeds."""
    alike = [model for model in errors if model.meta == stack.meta and model.averaged <= stack.averaged]
    baselines = [model for model in alike if model.kind == "baseline"]
    if not baselines:
        return ""
    geometry = max(baselines, key=lambda model: model.averaged)  # the mean of as many seeds
    gains = geometry.headlines - stack.headlines
    gain, std = gains.mean(), gains.std(ddof=1) if len(gains) > 1 else 0.0
    amount = f"{abs(gain):.4f}" + (f" ±{std:.4f}" if len(gains) > 1 else "")
    other = f"{geometry.name} ({with_seed_std(geometry, 'test', 'rmse_per_frame')})"
    if gain <= 0:
        return f" The base models do not lower the error: it is {amount} eV/Å above that of {other}."
    doubt = ", not more than the standard deviation over seeds" if np.abs(gain) <= std else ""
    return f" The base models lower the error by {amount} eV/Å, compared with {other}{doubt}."
