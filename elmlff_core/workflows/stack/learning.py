"""Learning curves of a stack run over the number of training structures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.progress import Reporter
from elmlff_core.evaluation.evaluation import Evaluation
from elmlff_core.evaluation.learning_curve import (
    FRACTIONS,
    N_PARTS,
    LearningCurve,
    LearningPoint,
    linear_learning_curve,
    with_all_elements,
)
from elmlff_core.features.metrics import mean_rmse_per_frame
from elmlff_core.fits.fit import average_of, fit_or_load
from elmlff_core.settings.run_folder import RunFolder


def learning_curves(
    evaluation: Evaluation, run: RunFolder, with_stack: bool, reporter: Reporter
) -> list[LearningCurve]:
    """Return the learning curve of the linear combination and, if asked for, of the stack if it sees the geometry.

    Parameters
    ----------
    evaluation : predictions of the run, with the chosen fit
    run : folder of the run, which gets the further fits
    with_stack : whether to fit the stack's meta-model anew to an eighth, a quarter and half of the training structures
    reporter : receives messages and progress
    """
    found = [linear_learning_curve(evaluation.features)]
    if with_stack and not evaluation.chosen.fit.meta.sees_geometry:
        reporter.say(f"{evaluation.chosen.fit.title} sees no geometry: its learning curve is not drawn")
    elif with_stack and len(evaluation.features["train"]) >= N_PARTS:
        found.append(_curve_of_stack(evaluation, run, reporter))
    return [curve for curve in found if curve is not None]


def _curve_of_stack(evaluation: Evaluation, run: RunFolder, reporter: Reporter) -> LearningCurve:
    """Fit the chosen meta-model to parts of the training structures, with as many steps as to all of them."""
    chosen, features = evaluation.chosen.fit, evaluation.features
    points = []
    for denominator in FRACTIONS[:-1]:
        part = next(with_all_elements(features["train"], denominator), None)
        if part is None:
            reporter.say(f"learning curve: no part of 1/{denominator} of the training structures has all elements")
            continue
        # Fewer structures make shorter epochs: without more epochs the curve would be one of lengths of trainings.
        fit = replace(chosen, meta=chosen.meta.longer(denominator), part=f"part{denominator}")
        reporter.say(f"learning curve: {chosen.meta.name} on {len(part)} training structures")
        known = {**features, "train": part}
        members = [fit_or_load(member, known, run.fit / member.name, reporter) for member in fit.members]
        fitted = average_of(fit, members, features["valid"])
        predictions = {split: in_blocks(features[split], fitted.meta.predict) for split in ("valid", "test")}
        points.append(_point(len(part), predictions, features))
    # The fit of the run has seen all of them.
    points.append(_point(len(features["train"]), evaluation.predictions[chosen.title], features))
    return LearningCurve(chosen.title, tuple(points))


def _point(n_structures: int, found: Mapping[str, Prediction], features: Mapping[str, Features]) -> LearningPoint:
    errors = {split: mean_rmse_per_frame(found[split].forces, features[split]) for split in ("valid", "test")}
    return LearningPoint(n_structures, 1, **errors)
