"""Errors in detail: by element, by reference force, of the worst structures, and in-sample against unseen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from elmlff_core.contracts.features import Features
from elmlff_core.features.metrics import force_metrics, rmse_of_frames

BIN_QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
N_WORST = 10


@dataclass(frozen=True)
class GroupError:
    """Errors of the force components of a group of atoms, eV/Å."""

    n_atoms: int
    rmse: float
    mae: float

    @classmethod
    def of(cls, error: np.ndarray) -> GroupError:
        """Compute them from force errors (n, 3), n > 0."""
        return cls(len(error), float(np.sqrt((error**2).mean())), float(np.abs(error).mean()))


@dataclass(frozen=True)
class BinError:
    """Force errors of the atoms whose reference force has a magnitude from `lower` to below `upper`, eV/Å."""

    lower: float
    upper: float
    error: GroupError


@dataclass(frozen=True)
class WorstFrame:
    """A structure with a large error.

    Attributes
    ----------
    source : the dataset
    index : its index in the dataset, from 0
    formula : chemical formula
    rmse : RMSE over its atoms and components, eV/Å
    worst_atom : index of the atom with the largest error vector, from 0
    worst_error : the length of that vector, eV/Å
    """

    source: str
    index: int
    formula: str
    rmse: float
    worst_atom: int
    worst_error: float


@dataclass(frozen=True)
class DetailedErrors:
    """Force errors of one prediction on test structures: by element, by reference force, and of the worst frames."""

    name: str
    elements: dict[str, GroupError]
    bins: tuple[BinError, ...]
    worst: tuple[WorstFrame, ...]


@dataclass(frozen=True)
class InSampleGap:
    """Per-frame force RMSE (Eq. 7) on training and test structures, eV/Å, and the ratio test / training."""

    name: str
    train: float
    test: float
    ratio: float | None


def in_sample_gaps(train: Features, test: Features) -> list[InSampleGap]:
    """Compare training and test error of each base model.

    A ratio far above 1 means that its features on training structures are much better than those on unseen structures.
    The ratio is None if the training error is zero.
    """
    gaps = []
    for name in train.models:
        inside, outside = (
            force_metrics(split.base_prediction(name).forces, split.reference_forces, split.n_atoms).rmse_per_frame
            for split in (train, test)
        )
        gaps.append(InSampleGap(name, inside, outside, outside / inside if inside > 0 else None))
    return gaps


def errors_in_detail(
    name: str, forces: np.ndarray, features: Features, index: np.ndarray | None = None
) -> DetailedErrors:
    """Compute the errors of one prediction in detail.

    Parameters
    ----------
    name : name of the base model, baseline or stack
    forces : (n_rows, 3), eV/Å, predicted for the structures of `features`, which carry reference labels
    features : features of the test structures
    index : (n_structures,) int, their indices in the dataset; None if they are the whole dataset
    """
    reference, numbers = features.reference_forces, features.atomic_numbers
    error = forces - reference
    return DetailedErrors(
        name=name,
        elements={chemical_symbols[z]: GroupError.of(error[numbers == z]) for z in np.unique(numbers)},
        bins=tuple(force_bins(error, reference)),
        worst=tuple(worst_frames(error, features, index)),
    )


def force_bins(error: np.ndarray, reference: np.ndarray) -> list[BinError]:
    """Return errors by magnitude of the reference force, in bins with 25, 25, 25, 15, 9 and 1 % of the atoms.

    The highest bins are narrow, because few atoms with large forces often cause most of the error.  Bins that are
    empty because magnitudes are equal are left out.  Both arrays are (n_rows, 3), eV/Å.
    """
    magnitude = np.linalg.norm(reference, axis=1)
    edges = np.quantile(magnitude, BIN_QUANTILES)
    place = np.clip(np.searchsorted(edges, magnitude, side="right") - 1, 0, len(edges) - 2)
    return [
        BinError(float(edges[i]), float(edges[i + 1]), GroupError.of(error[place == i]))
        for i in range(len(edges) - 1)
        if (place == i).any()
    ]


def worst_frames(
    error: np.ndarray, features: Features, index: np.ndarray | None = None, n_worst: int = N_WORST
) -> list[WorstFrame]:
    """Return the structures with the largest RMSE, largest first; `error` is (n_rows, 3), eV/Å."""
    n_atoms = features.n_atoms
    starts = np.cumsum(n_atoms) - n_atoms
    rmse = rmse_of_frames(error, np.zeros_like(error), n_atoms)
    frames = []
    for place in np.argsort(-rmse, kind="stable")[:n_worst]:
        lengths = np.linalg.norm(error[starts[place] : starts[place] + n_atoms[place]], axis=1)
        frames.append(
            WorstFrame(
                source=features.source,
                index=int(place if index is None else index[place]),
                formula=features.structures[place].get_chemical_formula(),
                rmse=float(rmse[place]),
                worst_atom=int(lengths.argmax()),
                worst_error=float(lengths.max()),
            )
        )
    return frames


def all_errors(
    features: Features, predictions: Mapping[str, np.ndarray], index: np.ndarray | None = None
) -> list[DetailedErrors]:
    """Return the detailed errors of each base model of `features` and of `predictions`, name -> (n_rows, 3), eV/Å."""
    models = {name: features.base_prediction(name).forces for name in features.models}
    return [errors_in_detail(name, forces, features, index) for name, forces in {**models, **predictions}.items()]
