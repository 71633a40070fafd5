"""The three contracts BaseForceField, TrainableAdapter and MetaModel, and optional contracts.

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
    """A model that predicts energies and forces of structures.

    It takes structures and returns arrays, never objects of a backend, so that a base model can run in another process.

    Attributes
    ----------
    name : the user's name for it, such as ``dp1``
    elements : chemical symbols it was trained on, or None if it accepts any element
    cutoff : Å, or None if it has no cutoff or the cutoff is not known
    fingerprint : hex digest of checkpoint bytes, adapter and backend version; the key of its cached predictions
    """

    name: str
    elements: frozenset[str] | None
    cutoff: float | None
    fingerprint: str

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Predict energies and forces of a whole batch in one call, because backends are fast only in batches."""
        ...


@dataclass(frozen=True)
class TrainingLength:
    """The length of a training for a given training set; `note` explains steps that the options do not say."""

    steps: int
    epochs: float
    note: str = ""

    @property
    def in_epochs(self) -> str:
        """The epochs in words, with three digits or, if there are hundreds, as a whole number."""
        return f"{self.epochs:,.0f} epochs" if self.epochs >= 100 else f"{self.epochs:.3g} epochs"


@dataclass(frozen=True)
class TrainingRequest:
    """Everything an adapter needs to train one base force field.

    Attributes
    ----------
    name : the model's name
    train, valid : labelled structures; the training uses no other data
    options : the adapter's options model, training lengths included
    directory : an existing folder for this training alone; an interrupted training resumes from the files in it
    seed : seed of initial weights and batches
    progress : to be called at every step or report
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
        """Return the steps and epochs that `options` give for a training set of `n_structures`."""
        ...

    def train(self, request: TrainingRequest) -> Path:
        """Train a base force field and return its checkpoint, a file inside ``request.directory``."""
        ...


@dataclass(frozen=True)
class FitRequest:
    """Everything a meta-model needs to be fitted.

    Attributes
    ----------
    train, valid : features with reference labels; the test set is never among them
    training : epochs, learning rate and so on; closed-form models ignore it
    directory : for checkpoints and logs; an interrupted fit resumes from the files in it
    seed : seed of initial weights and batches
    progress : to be called at every epoch
    masks : `elmlff_core.graphs.masks.BaseMasks`, which hide some of the base models for each structure, different ones
        in every epoch; for meta-models that accept them (`TakesMasks`).  The type is Any because this module cannot
        import from `elmlff_core.graphs`
    """

    train: Features
    valid: Features
    training: Any
    directory: Path
    seed: int
    progress: ProgressCallback
    masks: Any = None


class MetaModel(Protocol):
    """A model that maps the predictions of base models for a structure, with its graph, to forces (and energy)."""

    def fit(self, request: FitRequest) -> None:
        """Fit to ``request.train``; choose among states of the training by ``request.valid``."""
        ...

    def predict(self, features: Features) -> Prediction:
        """Predict the forces of every structure in `features`; labels in `features` are not used."""
        ...

    def save(self, directory: Path) -> None:
        """Write the fitted state as safetensors and JSON."""
        ...

    def load(self, directory: Path) -> None:
        """Read the state that `save` wrote."""
        ...


@runtime_checkable
class LearntUncertainty(Protocol):
    """Optional contract of a meta-model that also has an uncertainty of its forces, learnt unless it says otherwise.

    It may say so by an attribute ``std_kind``, ``seeds`` for the spread of several fits.
    """

    def forces_std(self, features: Features) -> np.ndarray | None:
        """Predict the standard deviation of a force component on each atom: (n_rows,), eV/Å, or None if not learnt."""
        ...


@runtime_checkable
class RunsOnDevice(Protocol):
    """Optional contract of a meta-model that predicts on a GPU too."""

    def to(self, device: str) -> None:
        """Predict on `device` from now on: cpu, cuda, or auto for a CUDA GPU if there is one.

        ConfigError if there is none.
        """
        ...


@runtime_checkable
class Compiles(Protocol):
    """Optional contract of a meta-model whose network can be compiled for this machine."""

    def compile(self, features: Features) -> None:
        """Compile the network for single structures, and keep the result in the user's cache, where `load` finds it.

        It is for any number of atoms, and for base models that give the same quantities as those of `features`, which
        has one structure.  ElmlffError for another structure, or if it cannot be compiled.
        """
        ...

    def leave_compiled(self) -> None:
        """Predict without what was compiled, until `compile` is called."""
        ...


@runtime_checkable
class CountsParameters(Protocol):
    """Optional contract of a meta-model that reports its size.

    Attributes
    ----------
    n_parameters : number of trainable parameters, once it is fitted or loaded
    """

    n_parameters: int


@runtime_checkable
class TakesMasks(Protocol):
    """Optional contract of a meta-model that can be fitted once for all subsets of the base models.

    Attributes
    ----------
    takes_masks : whether it accepts masks; a class may define the method below although not all its subclasses do
    """

    takes_masks: bool

    def predict_masked(self, features: Features, masks: Any, subsets: Iterable[int]) -> Iterator[np.ndarray]:
        """Yield the forces predicted from each of `subsets` of the base models, rows of `masks`: (n_rows, 3), eV/Å."""
        ...


def check_masks(meta: object, masks: Any) -> None:
    """Raise ElmlffError if `masks` are given and `meta` does not accept any."""
    if masks is not None and not (isinstance(meta, TakesMasks) and meta.takes_masks):
        raise ElmlffError(f"{type(meta).__name__} cannot be fitted with base models masked: leave the masks out")
