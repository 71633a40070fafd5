"""Preparation for all workflows: train base models and predict features; everything that a workflow needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.checks import check_elements
from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.out_of_fold import Fold, make_folds
from elmlff_core.base_models.training import seen_in_training
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.splits import Splits
from elmlff_core.evaluation.leakage import leakage_notes
from elmlff_core.evaluation.units import check_units_by_models
from elmlff_core.fits.tasks import Fitting
from elmlff_core.settings.config import Config
from elmlff_core.workflows.ahead import CHECK, Ahead, do_ahead
from elmlff_core.workflows.base_models import announce, base_features
from elmlff_core.workflows.inputs import Inputs
from elmlff_core.workflows.work import all_features


@dataclass(frozen=True)
class Prepared:
    """Prepared inputs of a workflow.

    Attributes
    ----------
    config : the settings
    splits : training, validation and test structures
    base_models : base models, all with a checkpoint if their adapter uses checkpoints
    trained : names of the base models that elmlff trained on the training structures
    folds : folds of the training structures, empty if none were requested
    features : split -> predictions of the base models, with the labels
    notes : notes for the reader on base models that were, or may have been, trained on test structures
    """

    config: Config
    splits: Splits
    base_models: list[NamedModel]
    trained: tuple[str, ...]
    folds: list[Fold]
    features: dict[str, Features]
    notes: list[str]

    @property
    def in_sample(self) -> tuple[str, ...]:
        """Base models whose features on training structures are in-sample."""
        return () if self.folds else self.trained

    @property
    def counts(self) -> dict[str, int]:
        """Number of structures of each split."""
        return {split: len(values) for split, values in self.features.items()}


def prepare(
    inputs: Inputs,
    models_folder: Path,
    logs: Path,
    reporter: Reporter,
    plans: Iterable[str] = (),
    fits: Sequence[Fitting] = (),
    costs: Path | None = None,
) -> Prepared:
    """Train base models without a checkpoint, and predict all structures with each base model.

    Several trainings and predictions run at the same time, as the settings of resources say, and so do the fits that
    the workflow will ask for: each as soon as the features of its own base models are there.

    Parameters
    ----------
    inputs : result of `read_inputs`
    models_folder : folder for trained base models, where later runs find them
    logs : folder for the logs of what workers do
    reporter : receives messages and progress
    plans : lines on what the workflow will do, reported before the long work starts
    fits : fits of the workflow, as far as they are known; they may be left to it
    costs : file for the times of base models, which workers of other machines measure; they may be left to the workflow

    Raises
    ------
    ElmlffError
        A base model cannot be trained or evaluated, or does not support the elements of the data; or the labels are in
        other units than those of the given base models.
    """
    config, splits = inputs.config, inputs.splits
    cache = FeatureCache()
    folds = make_folds(splits, config)
    announce(inputs, models_folder, reporter)
    for line in plans:
        reporter.say(line)
    check_elements(inputs.base_models, splits, cache)
    ahead = Ahead(inputs, models_folder, cache, folds, fits, costs and costs.absolute())
    tasks = ahead.tasks()
    given = [model for model in inputs.base_models if not model.needs_training]
    if given and not any(task.name == CHECK for task in tasks):  # tasks would do that before trainings, too
        known = base_features(given, splits, cache, reporter)
        if config.data.check_units:
            check_units_by_models(known["train"])
        del known
    do_ahead(ahead, tasks, logs, reporter)
    base_models, features = all_features(inputs, models_folder, cache, folds, reporter)
    trained = tuple(model.name for model in inputs.base_models if model.needs_training)
    notes = leakage_notes(features, {model.name: seen_in_training(model) for model in given})
    return Prepared(config, splits, base_models, trained, folds, features, notes)


def preparation_notes(prepared: Prepared) -> list[str]:
    """Return notes for a page on the in-sample features of base models, and on those trained on test structures."""
    in_sample = ", ".join(prepared.in_sample)
    if not in_sample:
        return prepared.notes
    return [
        *prepared.notes,
        f"Features of {in_sample} on training structures are in-sample: these base models were trained on the "
        "structures from which linear combinations and meta-models learn. Use --folds K for out-of-fold features.",
    ]
