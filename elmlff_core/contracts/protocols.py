"""The three contracts: BaseForceField, TrainableAdapter and MetaModel; and what a meta-model may offer beside.

| key    | shape          | unit                                          |
|--------|----------------|-----------------------------------------------|
| energy | (n_structures,)| eV                                            |
| forces | (n_atoms, 3)   | eV/Å, without ASE constraints                 |
| stress | (n_structures, 6) | eV/Å³, Voigt xx yy zz yz xz xy, ASE's sign |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from ase import Atoms

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.progress import ProgressCallback
from elmlff_core.errors import ElmlffError


@runtime_checkable
class BaseForceField(Protocol):
    """Anything that predicts energy and forces of structures.

    Arrays in, arrays out: no backend object crosses this seam, so that a base may live in another process.

    Attributes
    ----------
    name : the user's name for it, ``dp1``
    elements : chemical symbols it knows, or None where it takes any
    cutoff : Å, or None where it has none or does not tell
    fingerprint : hex digest of checkpoint bytes, adapter and backend version; keys the feature cache
    """

    name: str
    elements: frozenset[str] | None
    cutoff: float | None
    fingerprint: str

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Energies and forces of a whole batch in one call: backends are fast only in batches."""
        ...


@dataclass(frozen=True)
class TrainingLength:
    """What a budget means for a given training set."""

    steps: int
    epochs: float


@dataclass(frozen=True)
class TrainingRequest:
    """Everything an adapter needs to train one base force field.

    Attributes
    ----------
    name : the model's name
    train, valid : labelled structures; nothing else is seen in training
    options : the adapter's options model, training lengths included
    directory : exists, belongs to this training alone; an interrupted training resumes from what it left there
    seed : of initial weights and batches
    progress : to be called with every step or report
    """

    name: str
    train: Dataset
    valid: Dataset
    options: Any
    directory: Path
    seed: int
    progress: ProgressCallback


@runtime_checkable
class TrainableAdapter(Protocol):
    """Trains a base force field with the backend's own trainer."""

    def length(self, options: Any, n_structures: int) -> TrainingLength:
        """Steps and epochs that `options` mean for a training set of `n_structures`."""
        ...

    def train(self, request: TrainingRequest) -> Path:
        """Train and return the checkpoint, a file inside ``request.directory``."""
        ...


@dataclass(frozen=True)
class FitRequest:
    """Everything a meta-model needs to be fitted.

    Attributes
    ----------
    train, valid : features with reference labels; the test set is never among them
    training : epochs, learning rate and so on; closed-form models ignore it
    directory : for checkpoints and logs; an interrupted fit resumes from what it left there
    seed : of initial weights and batches
    progress : to be called with every epoch
    masks : `elmlff_core.graphs.masks.BaseMasks`, which hide some of the bases of each structure, other ones in every
        epoch; for meta-models that take them (`TakesMasks`).  Graphs stand above contracts: the type cannot be said
    """

    train: Features
    valid: Features
    training: Any
    directory: Path
    seed: int
    progress: ProgressCallback
    masks: Any = None


class MetaModel(Protocol):
    """Maps the bases' predictions on a structure, with its graph, to forces (and energy)."""

    def fit(self, request: FitRequest) -> None:
        """Learn from ``request.train``; choose among states by ``request.valid``."""
        ...

    def predict(self, features: Features) -> Prediction:
        """Forces of every structure in `features`, whose labels are not looked at."""
        ...

    def save(self, directory: Path) -> None:
        """Write the fitted state as safetensors and JSON."""
        ...

    def load(self, directory: Path) -> None:
        """Read what `save` wrote."""
        ...


@runtime_checkable
class LearntUncertainty(Protocol):
    """A meta-model that also learns how far its forces may be off; optional."""

    def forces_std(self, features: Features) -> np.ndarray | None:
        """Standard deviation of each force component on each atom: (n_rows,), eV/Å, or None where it was not learnt."""
        ...


@runtime_checkable
class CountsParameters(Protocol):
    """A meta-model that tells how large it is; optional.

    Attributes
    ----------
    n_parameters : trainable numbers, once it is fitted or loaded
    """

    n_parameters: int


@runtime_checkable
class TakesMasks(Protocol):
    """A meta-model that can be fitted once for every subset of the bases; optional.

    Attributes
    ----------
    takes_masks : whether it does; a class may offer the method below to children of which not all do
    """

    takes_masks: bool

    def predict_masked(self, features: Features, masks: Any, subsets: Iterable[int]) -> Iterator[np.ndarray]:
        """Forces with each of `subsets`, rows of `masks`, in place of all bases: (n_rows, 3) each, eV/Å."""
        ...


def check_masks(meta: object, masks: Any) -> None:
    """ElmlffError where there are `masks` and `meta` does not take any."""
    if masks is not None and not (isinstance(meta, TakesMasks) and meta.takes_masks):
        raise ElmlffError(f"{type(meta).__name__} cannot be fitted with base models masked: leave the masks out")
