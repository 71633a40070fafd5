"""Diagnostics of a run: quality of splits and labels, and errors in detail, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.evaluation.errors_in_detail import DetailedErrors, InSampleGap, all_errors, in_sample_gaps
from elmlff_core.evaluation.label_noise import LabelNoise, label_noise
from elmlff_core.evaluation.split_quality import SplitQuality, split_quality


@dataclass(frozen=True)
class Diagnostics:
    """Diagnostics of one run.

    Attributes
    ----------
    in_sample : training and test error of each base model
    split : distances between test and training structures
    split_method : ``random``, ``blocks`` or ``clusters``; None if test structures were given
    labels : split -> net forces and torques of the reference labels
    errors : errors on test structures in detail, for each base model, baseline and stack
    """

    in_sample: list[InSampleGap]
    split: SplitQuality
    split_method: str | None
    labels: dict[str, LabelNoise]
    errors: list[DetailedErrors]

    @property
    def warnings(self) -> list[str]:
        """Warnings that belong to the table of errors."""
        return [self.split.statement(self.split_method)] if self.split.is_bad else []

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "split_statement": self.split.statement(self.split_method)}


def diagnose(
    splits: Mapping[str, Features],
    predictions: Mapping[str, Prediction],
    index: Mapping[str, np.ndarray] | None = None,
    split_method: str | None = None,
) -> Diagnostics:
    """Compute all diagnostics of a run, in some seconds for thousands of structures of fifty atoms.

    Parameters
    ----------
    splits : ``train`` and ``test`` features, with reference labels
    predictions : name of a baseline or stack -> its prediction for the test structures; base models come from `splits`
    index : split -> (n,) int, indices of its structures in their dataset; without it, frames are numbered within the
        split, and no trajectory is detected
    split_method : how test structures were chosen (`SplitMethod`); None if they were given
    """
    index = index or {}
    train, test = splits["train"], splits["test"]
    forces = {title: prediction.forces for title, prediction in predictions.items()}
    return Diagnostics(
        in_sample=in_sample_gaps(train, test),
        split=split_quality(train.structures, test.structures, index.get("train")),
        split_method=split_method,
        labels={"train": label_noise(train), "test": label_noise(test)},
        errors=all_errors(test, forces, index.get("test")),
    )
