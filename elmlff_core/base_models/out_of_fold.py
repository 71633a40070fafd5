"""Out-of-fold features: predictions of base models for structures they were not trained on (Wolpert, 1992).

A base model has smaller errors on the structures it was trained on than on new ones.  A meta-model that learns from
such features gives it too much weight.  Therefore each base model that is trained here is retrained once for every
fold of the training structures, on all other folds, and then predicts that fold.  Validation, test and inference use
the base model that was trained on all training structures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from elmlff_core.arrays import new_array
from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.prediction import cached_prediction
from elmlff_core.base_models.training import train_model, training_directory
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.splits import Splits
from elmlff_core.errors import DataError
from elmlff_core.features.energies import composition
from elmlff_core.settings.config import Config

# A subfolder of the folder of trained models; `elmlff models` does not list models in subfolders.
FOLDS_FOLDER = "folds"


@dataclass(frozen=True)
class Fold:
    """A subset of the training structures that is left out of one retraining of each base model.

    Attributes
    ----------
    number : number of the fold, from 1
    n_folds : number of folds
    index : (n,) int64, indices of its structures among the training structures
    held_out : structures of the fold
    rest : the other training structures
    """

    number: int
    n_folds: int
    index: np.ndarray
    held_out: Dataset
    rest: Dataset

    def __str__(self) -> str:
        return f"fold {self.number} of {self.n_folds}"


def make_folds(splits: Splits, config: Config) -> list[Fold]:
    """Divide the training structures into ``config.folds`` folds, with the method that split off the test structures.

    The list is empty if no folds are asked for.

    Raises
    ------
    DataError
        There are fewer structures than folds, or an element occurs in only one fold.
    """
    if config.folds is None:
        return []
    n_train = len(splits.train_index)
    cut = splits.training_folds(config.folds, config.data)
    folds = []
    for number, index in enumerate(cut, start=1):
        rest = np.setdiff1d(np.arange(n_train), index)
        folds.append(Fold(number, config.folds, index, splits.train.subset(index), splits.train.subset(rest)))
    for fold in folds:
        if unknown := sorted(fold.held_out.elements - fold.rest.elements):
            raise DataError(
                f"{fold} alone contains {', '.join(unknown)}, so a base model trained on the other folds cannot "
                "predict it: choose another number of folds or another data.split_seed"
            )
    return folds


@dataclass(frozen=True)
class Retraining:
    """Settings of the training without a fold; apart from the structures they are those of the usual training.

    Attributes
    ----------
    splits : the splits; their validation structures select the best state, as in the usual training
    seed : seed of initial weights and batches
    models_folder : folder of trained models
    cache : cache of predictions
    reporter : reports progress to the user
    """

    splits: Splits
    seed: int
    models_folder: Path
    cache: FeatureCache
    reporter: Reporter

    def directory(self, model: NamedModel, fold: Fold) -> Path:
        """Return the folder of `model` trained without `fold`."""
        return training_directory(model, fold.rest, self.splits.valid, self.seed, self.models_folder / FOLDS_FOLDER)

    def retrained(self, model: NamedModel, fold: Fold) -> NamedModel:
        """Return `model` trained without `fold`; ElmlffError if that fails."""
        # Descriptors of two trainings are not the same numbers: those of the training on all structures stay.
        retrained = replace(model, checkpoint=None).with_descriptors(False)
        with self.reporter.progress(f"training {model.name} without {fold}") as progress:
            folder = self.directory(retrained, fold)
            return train_model(retrained, fold.rest, self.splits.valid, self.seed, folder, progress)

    def features(self, model: NamedModel, fold: Fold) -> Features:
        """Retrain `model` without `fold` and predict the fold; ElmlffError if either fails."""
        retrained = self.retrained(model, fold)
        structures, fingerprint = fold.held_out.structures, fold.held_out.fingerprint
        with self.reporter.progress(f"predicting {fold} with {model.name}") as progress:
            prediction = cached_prediction(retrained, structures, fingerprint, self.cache, progress)
        retrained.close()
        return Features.from_predictions(structures, {model.name: prediction})


def out_of_fold(
    models: Sequence[NamedModel], features: Features, folds: Sequence[Fold], retraining: Retraining
) -> Features:
    """Return `features` of the training structures, with out-of-fold predictions of `models`.

    Parameters
    ----------
    models : the base models that are trained here, with checkpoints from training on all training structures
    features : in-sample features of the training structures, from all base models of the stack
    folds : folds from `make_folds`; if there are none, `features` are returned unchanged
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
    """Shift `energies` of one training, by a constant per element, towards those `known` from another one; eV.

    Two trainings may have different zeros of energy, but the stack aligns the energies of a base model only once.  No
    reference label is used here.
    """
    counts, _ = composition(structures)
    return np.asarray(energies + counts @ np.linalg.lstsq(counts, known - energies, rcond=None)[0])
