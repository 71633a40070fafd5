"""Out-of-fold features: what bases say of training structures that they were not trained on (Wolpert, 1992).

A base knows the structures it was trained on better than those it will meet, and a meta-model that learns from such
features trusts it too much.  Each base trained here is therefore retrained once for every fold of the training
structures, on the others, and predicts that fold.  Validation, test and inference use the base trained on all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from elmlff_core.arrays import new_array
from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import NamedModel, train_model, training_directory
from elmlff_core.base_models.prediction import cached_prediction
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.splits import Splits, split_folds
from elmlff_core.errors import DataError
from elmlff_core.features.energies import composition
from elmlff_core.settings.config import Config

# Below the folder of trained models, where listings of what can be used look no further.
FOLDS_FOLDER = "folds"


@dataclass(frozen=True)
class Fold:
    """A share of the training structures that one retraining of each base does not see.

    Attributes
    ----------
    number, n_folds : which of how many, from 1
    index : (n,) int64, of its structures among the training structures
    held_out, rest : its structures, and the other training structures
    """

    number: int
    n_folds: int
    index: np.ndarray
    held_out: Dataset
    rest: Dataset

    def __str__(self) -> str:
        return f"fold {self.number} of {self.n_folds}"


def make_folds(splits: Splits, config: Config) -> list[Fold]:
    """The training structures cut into ``config.folds`` folds, in the way test structures were cut out.

    Empty where none are asked for.  DataError where there are fewer structures than folds, or an element occurs in one
    fold alone.
    """
    if config.folds is None:
        return []
    n_train = len(splits.train_index)
    rng = np.random.default_rng([config.data.split_seed, config.folds])
    clusters = None if splits.clusters is None else splits.clusters[splits.train_index]
    cut = split_folds(n_train, config.folds, config.data.split, rng, clusters)
    folds = []
    for number, index in enumerate(cut, start=1):
        rest = np.setdiff1d(np.arange(n_train), index)
        folds.append(Fold(number, config.folds, index, splits.train.subset(index), splits.train.subset(rest)))
    for fold in folds:
        if unknown := sorted(fold.held_out.elements - fold.rest.elements):
            raise DataError(
                f"{fold} alone contains {', '.join(unknown)}, which no base trained on the others can know: "
                "ask for another number of folds, or other data.split_seed"
            )
    return folds


@dataclass(frozen=True)
class Retraining:
    """How bases are trained without a fold: as those trained on all, but for the structures.

    Attributes
    ----------
    splits : whose validation structures choose among states, as always
    seed : of initial weights and batches
    models_folder : where trained models live
    cache : of predictions
    reporter : told what is going on
    """

    splits: Splits
    seed: int
    models_folder: Path
    cache: FeatureCache
    reporter: Reporter

    def directory(self, model: NamedModel, fold: Fold) -> Path:
        """Where `model` trained without `fold` lives."""
        return training_directory(model, fold.rest, self.splits.valid, self.seed, self.models_folder / FOLDS_FOLDER)

    def features(self, model: NamedModel, fold: Fold) -> Features:
        """What `model`, retrained without `fold`, predicts of it; ElmlffError where either fails."""
        retrained = replace(model, checkpoint=None)
        with self.reporter.progress(f"training {model.name} without {fold}") as progress:
            folder = self.directory(retrained, fold)
            retrained = train_model(retrained, fold.rest, self.splits.valid, self.seed, folder, progress)
        structures, fingerprint = fold.held_out.structures, fold.held_out.fingerprint
        with self.reporter.progress(f"predicting {fold} with {model.name}") as progress:
            prediction = cached_prediction(retrained, structures, fingerprint, self.cache, progress)
        retrained.close()
        return Features.from_predictions(structures, {model.name: prediction})


def out_of_fold(
    models: Sequence[NamedModel], features: Features, folds: Sequence[Fold], retraining: Retraining
) -> Features:
    """`features` of the training structures, those of `models` replaced by out-of-fold ones.

    Parameters
    ----------
    models : the bases trained here, whose checkpoints are of trainings on all training structures
    features : of the training structures by all bases of the stack, in-sample
    folds : of `make_folds`; without any, `features` stay as they are
    retraining : trains and predicts

    Raises
    ------
    ElmlffError
        A training or a prediction failed.
    """
    if not folds:
        return features
    forces = new_array(features.forces.shape)
    forces[:] = features.forces
    energies = {name: energy.copy() for name, energy in features.energies.items()}
    stresses = {name: stress.copy() for name, stress in features.stresses.items()}
    for model in models:
        row = features.models.index(model.name)
        for fold in folds:
            found = retraining.features(model, fold)
            forces[row, features.rows(fold.index)] = found.forces[0]
            if model.name in energies:
                known = features.energies[model.name][fold.index]
                energies[model.name][fold.index] = _on_the_scale_of(known, found, found.energies[model.name])
            if model.name in stresses:
                stresses[model.name][fold.index] = found.stresses[model.name]
    return replace(features, forces=forces, energies=energies, stresses=stresses)


def _on_the_scale_of(known: np.ndarray, structures: Features, energies: np.ndarray) -> np.ndarray:
    """`energies` of one training, shifted by constants for each element towards those `known` from another, eV.

    Two trainings may count energy from different zeros, but the stack aligns a base's energies once.  No reference
    label enters here.
    """
    counts, _ = composition(structures)
    return np.asarray(energies + counts @ np.linalg.lstsq(counts, known - energies, rcond=None)[0])
