"""Baselines: what every run shows beside its stack, fitted in closed form.

The other baselines are the best base model, and "geometry only": the same meta-model fitted without base models, which
is a fit like any other (`elmlff_core.fits.fit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.fits.meta_models import make_meta

# Meta-models that are baselines of every run, with their titles in tables.
BASELINES = {"mean": "mean of the base models", "linear": "linear combination"}


def baseline_predictions(meta: str, features: Mapping[str, Features], directory: Path) -> dict[str, Prediction]:
    """Predictions of a baseline for each split.

    Parameters
    ----------
    meta : name of the meta-model
    features : of the splits ``train``, ``valid`` and ``test``
    directory : for the fit, which leaves nothing there
    """
    baseline = make_meta(meta, {})
    baseline.fit(FitRequest(features["train"], features["valid"], None, directory, 0, lambda _: None))
    return {split: in_blocks(values, baseline.predict) for split, values in features.items()}
