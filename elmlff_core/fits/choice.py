"""The choice of meta-models by cross-validation, where structures are too few for validation structures to tell.

Two validation structures out of twenty say nothing on whether a network is worth its freedom.  Here every training
structure is predicted once by each meta-model fitted without it.  A network, or `ace`, is kept if it is better than the
linear combination, and the best base model, by more than the standard error of the difference over structures: with few
structures the simpler one is more often right.

The fits of networks to folds are shorter than final ones, which saves two thirds of the time.  Networks learn at
different speeds, so these fits do not rank what is kept: it gets a final fit, and validation structures choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.progress import Reporter
from elmlff_core.execution.placement import HERE, Placement
from elmlff_core.features.metrics import rmse_of_frames
from elmlff_core.fits.auto import SIMPLE
from elmlff_core.fits.fit import Fit
from elmlff_core.fits.meta_models import NamedMeta
from elmlff_core.fits.tasks import FitJob, fit_all

N_FOLDS = 3
SHARE_OF_EPOCHS = 1 / 3  # of a final fit


@dataclass(frozen=True)
class Choice:
    """Meta-models that cross-validation leaves.

    Attributes
    ----------
    metas : those that are clearly better than the linear combination and the best base model, or the better of these
    errors : name of each meta-model -> mean over the training structures of the RMSE of their forces, eV/Å
    """

    metas: list[NamedMeta]
    errors: dict[str, float]

    def __str__(self) -> str:
        listed = ", ".join(f"{name} {error:.4f}" for name, error in self.errors.items())
        kept = " and ".join(meta.name for meta in self.metas)
        return (
            f"{N_FOLDS}-fold cross-validation on the training structures leaves {kept} ({listed} eV/Å, networks "
            f"after a third of their epochs; they have to be better than {' and '.join(SIMPLE)} by a standard error)"
        )


def choose(
    candidates: Sequence[NamedMeta],
    features: Mapping[str, Features],
    folds: Sequence[np.ndarray],
    folder: Path,
    seed: int,
    reporter: Reporter,
    placement: Placement = HERE,
) -> Choice:
    """Choose among `candidates` by cross-validation on the training structures.

    Parameters
    ----------
    candidates : meta-models that can be fitted to these features
    features : features of ``train`` and ``valid``; the latter select the best state of each network, as in a usual fit
    folds : indices of the training structures of each fold
    folder : folder for the fits, where an interrupted choice finds them again
    seed : seed of initial weights and batches
    reporter : receives progress
    placement : where the fits run
    """
    train, valid = features["train"], features["valid"]
    errors = {meta.name: np.full(len(train), np.nan) for meta in candidates}
    jobs, tests = [], []
    for number, held_out in enumerate(folds, start=1):
        rest = train.subset(np.setdiff1d(np.arange(len(train)), held_out))
        # An element that occurs in this fold alone is unknown to the fits without it.
        tested, checked = train.of_known_elements(rest, held_out), valid.of_known_elements(rest)
        if not len(tested) or not len(checked):
            continue
        known = {"train": rest, "valid": valid.subset(checked)}
        for fit in _fits_of_fold(candidates, number, seed):
            jobs.append(FitJob(fit, known, folder / f"features-{fit.part}", folder / fit.name))
            tests.append(tested)
    for fitted, tested in zip(fit_all(jobs, placement, folder / "tasks", "choice", reporter), tests, strict=True):
        part = train.subset(tested)
        forces = in_blocks(part, fitted.meta.predict).forces
        errors[fitted.fit.meta.name][tested] = rmse_of_frames(forces, part.reference_forces, part.n_atoms)
    kept = better_by_a_standard_error(errors, SIMPLE)
    means = {name: float(np.nanmean(values)) for name, values in errors.items()}
    return Choice([meta for meta in candidates if meta.name in kept], means)


def fits_of_choice(candidates: Sequence[NamedMeta], n_folds: int, seed: int) -> list[Fit]:
    """Return the fits of `choose`, if every fold has structures."""
    return [fit for number in range(1, n_folds + 1) for fit in _fits_of_fold(candidates, number, seed)]


def _fits_of_fold(candidates: Sequence[NamedMeta], number: int, seed: int) -> list[Fit]:
    return [Fit(_shortened(meta), seed, part=f"fold{number}") for meta in candidates]


def better_by_a_standard_error(errors: Mapping[str, np.ndarray], simple: Sequence[str]) -> list[str]:
    """Return the names that are clearly better than the best simple one, or this one.

    Parameters
    ----------
    errors : name -> (n_structures,), errors of the same structures, NaN for those that count for none
    simple : names of which the best is kept if no other is better by more than the standard error of the difference
    """
    best = min(simple, key=lambda name: float(np.nanmean(errors[name])))
    kept = []
    for name in errors:
        difference = errors[best] - errors[name]
        difference = difference[np.isfinite(difference)]
        if name in simple or len(difference) < 2:
            continue
        if difference.mean() > difference.std(ddof=1) / np.sqrt(len(difference)):
            kept.append(name)
    return kept or [best]


def _shortened(meta: NamedMeta) -> NamedMeta:
    return meta.longer(SHARE_OF_EPOCHS) if meta.trained else meta
