"""The method ``masked``: one meta-model trained with random masks of the base models, then evaluated on every subset.

It takes about as long as one training.  The network shares its parameters among all subsets, so the error of a subset
is an estimate of the error of a meta-model fitted for that subset alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.errors import ConfigError
from elmlff_core.features.linear_combination import NormalEquations
from elmlff_core.features.metrics import evaluated_splits, mean_rmse_per_frame
from elmlff_core.files import read_record, write_record
from elmlff_core.fits.fit import Fit, fit_or_load
from elmlff_core.fits.meta_models import NamedMeta
from elmlff_core.plugins.registry import registry
from elmlff_core.workflows.sweep.least_squares import subset_weights
from elmlff_core.workflows.sweep.subset_errors import SubsetErrors
from elmlff_core.workflows.sweep.subsets import Subset, all_subsets, membership, subset_name

if TYPE_CHECKING:
    from elmlff_core.graphs.masks import BaseMasks

RESULTS_FILE = "results.json"
# Number of subsets for the validation error during training; with more, validation takes longer than training.
N_VALIDATION_SUBSETS = 8


class SubsetRecord(TypedDict):
    """Errors by split, eV/Å, and the seconds of their evaluation."""

    errors: dict[str, float]
    seconds: float


class MaskedRecord(TypedDict):
    """What ``results.json`` holds: a record for each subset, by its name."""

    subsets: dict[str, SubsetRecord]


def make_masks(train: Features, seed: int) -> BaseMasks:
    """Return masks of every subset of the base models of `train`, in the order of `all_subsets`.

    The masks include the linear combination of each subset.  The subsets for validation are all base models together
    and random ones drawn by `seed`; they do not change during a training.
    """
    from elmlff_core.graphs.masks import BaseMasks  # imports torch, which takes time

    members = membership(all_subsets(train.models), train.models)
    equations = NormalEquations.of(train)
    n_others = min(N_VALIDATION_SUBSETS, len(members)) - 1
    others = np.random.default_rng(seed).choice(len(members) - 1, size=n_others, replace=False)
    chosen = [*sorted(others.tolist()), len(members) - 1]
    return BaseMasks.from_arrays(equations.atomic_numbers, members, subset_weights(equations, members), chosen)


def check_maskable(meta: NamedMeta) -> None:
    """Raise ConfigError if `meta` cannot be fitted with masks."""
    if not meta.plugin.maskable:
        names = registry().meta_models_with("maskable")
        raise ConfigError(
            f"meta-model '{meta.name}' cannot be fitted with base models masked: --method masked takes "
            f"{' or '.join(names) or 'none of those installed'}"
        )


def masked_errors(
    meta: NamedMeta, seed: int, features: Mapping[str, Features], folder: Path, reporter: Reporter
) -> list[SubsetErrors]:
    """Train once in `folder` and evaluate every subset.

    An interrupted training resumes; results of subsets that were already evaluated are read.
    """
    masks = make_masks(features["train"], seed)
    reporter.say(f"masked: one {meta.name} for all subsets, {meta.training.epochs or 0} epochs")
    fitted = fit_or_load(Fit(meta, seed, masks=masks), features, folder, reporter)
    subsets = all_subsets(features["train"].models)
    found = _evaluated(fitted.meta, masks, subsets, evaluated_splits(features), folder / RESULTS_FILE, reporter)
    share = fitted.seconds / len(subsets)
    return [
        SubsetErrors(
            subset, "masked", found[subset_name(subset)]["errors"], found[subset_name(subset)]["seconds"] + share
        )
        for subset in subsets
    ]


def _evaluated(
    meta: Any,
    masks: BaseMasks,
    subsets: Sequence[Subset],
    splits: Mapping[str, Features],
    path: Path,
    reporter: Reporter,
) -> dict[str, SubsetRecord]:
    """Return name of a subset -> ``errors`` and ``seconds``; written after each subset, for an interrupted run."""
    found: dict[str, SubsetRecord] = {}
    if path.exists():
        found = read_record(path, MaskedRecord, "remove it, and subsets are evaluated again")["subsets"]
    left = [index for index, subset in enumerate(subsets) if subset_name(subset) not in found]
    predictions = {split: meta.predict_masked(features, masks, left) for split, features in splits.items()}
    with reporter.progress("evaluating subsets") as progress:
        for place, index in enumerate(left):
            started = time.perf_counter()
            errors = {
                split: mean_rmse_per_frame(next(predictions[split]), features) for split, features in splits.items()
            }
            found[subset_name(subsets[index])] = {"errors": errors, "seconds": round(time.perf_counter() - started, 4)}
            write_record(path, {"subsets": found})
            progress(Progress(place + 1, len(left)))
    return found
