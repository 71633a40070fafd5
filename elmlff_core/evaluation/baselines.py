"""Baselines in closed form, which every run compares with its stack.

Two other baselines are the best base model and "geometry only", the same meta-model fitted without base models.  The
latter is fitted like any meta-model (`elmlff_core.fits.fit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.fits.meta_models import make_meta

# Name of a meta-model -> its title as a baseline in tables.
BASELINES = {"mean": "mean of the base models", "linear": "linear combination"}


def baseline_predictions(meta: str, features: Mapping[str, Features], directory: Path) -> dict[str, Prediction]:
    """Fit a baseline and predict each split.

    Parameters
    ----------
    meta : name of the meta-model
    features : features of the splits ``train``, ``valid`` and ``test``
    directory : folder of the fit, which writes no files there
    """
    baseline = make_meta(meta, {})
    baseline.fit(FitRequest(features["train"], features["valid"], None, directory, 0, lambda _: None))
    return {split: in_blocks(values, baseline.predict) for split, values in features.items()}
