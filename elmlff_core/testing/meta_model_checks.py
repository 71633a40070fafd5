"""The checks of a meta-model; each is a function of a `MetaModelCase` that returns a measured value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from ase import Atoms

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.progress import Progress
from elmlff_core.contracts.protocols import FitRequest, MetaModel
from elmlff_core.features.metrics import force_metrics
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.testing.report import Figure, NotApplicable
from elmlff_core.testing.structures import doubled, moved_by_lattice_vectors, random_rotation, rotated
from elmlff_core.testing.tolerances import Tolerances

# First bytes of pickles of protocol 2 to 5, and of the zip files that torch.save makes.
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


@dataclass
class MetaModelCase:
    """A meta-model with the features and tolerances of its checks.

    Attributes
    ----------
    make : makes a meta-model that is not fitted
    features : features with labels
    training : settings for meta-models that are trained
    folder : folder for files of the checks
    tolerances : limits of deviations
    seed : seed of the fit and of all random numbers
    """

    make: Callable[[], MetaModel]
    features: Features
    training: TrainingConfig
    folder: Path
    tolerances: Tolerances
    seed: int

    @cached_property
    def meta(self) -> MetaModel:
        """The fitted meta-model."""
        return self.fitted("first")

    @cached_property
    def prediction(self) -> Prediction:
        """The prediction for the structures to which it was fitted."""
        return self.meta.predict(self.features)

    @property
    def rng(self) -> np.random.Generator:
        """A new generator with the same seed for every check."""
        return np.random.default_rng(self.seed)

    def fitted(self, name: str) -> MetaModel:
        """Fit another meta-model with the same seed, in its own folder."""
        n_train = max(1, int(0.75 * len(self.features)))
        directory = self.folder / name
        directory.mkdir()
        meta = self.make()
        meta.fit(
            FitRequest(
                train=self.features.subset(np.arange(n_train)),
                valid=self.features.subset(np.arange(n_train, len(self.features))),
                training=self.training,
                directory=directory,
                seed=self.seed,
                progress=_silent,
            )
        )
        return meta

    def compare(self, found: Prediction, forces: np.ndarray, absolute: float | None = None) -> Figure:
        """Return the largest deviation of forces, eV/Å."""
        absolute = self.tolerances.forces if absolute is None else absolute
        limit = absolute + self.tolerances.forces_relative * float(np.abs(self.prediction.forces).max())
        assert found.forces.shape == forces.shape, f"forces have shape {found.forces.shape}, expected {forces.shape}"
        return Figure(float(np.abs(found.forces - forces).max()), limit, "eV/Å")


def _silent(progress: Progress) -> None:
    """Ignore the progress."""


def fit(case: MetaModelCase) -> Figure:
    """Check that it can be fitted."""
    assert case.features.reference is not None, "the features have no labels: give them some"
    assert case.meta is not None
    return Figure(0, 0)


def shapes(case: MetaModelCase) -> Figure:
    """Check that there is one row of forces per atom and, if it gives energies, one energy per structure."""
    found = case.prediction
    assert isinstance(found, Prediction), f"predict returned {type(found).__name__}, expected Prediction"
    expected = {"forces": case.features.forces.shape[1:], "energy": (len(case.features),)}
    for name, shape in expected.items():
        array = getattr(found, name)
        if array is not None:
            assert array.shape == shape, f"{name} has shape {array.shape}, expected {shape}"
            assert array.dtype == np.float64, f"{name} is {array.dtype}, expected float64"
    assert np.array_equal(found.n_atoms, case.features.n_atoms), "n_atoms is not that of the structures"
    return Figure(0, 0)


def finite(case: MetaModelCase) -> Figure:
    """Check that all values are finite."""
    arrays = [array for array in (case.prediction.forces, case.prediction.energy) if array is not None]
    return Figure(float(sum((~np.isfinite(array)).sum() for array in arrays)), 0, "values not finite")


def no_worse_than_worst_base(case: MetaModelCase) -> Figure:
    """Check that its error on its training data is not above that of the worst base model (RMSE per frame)."""
    target, n_atoms = case.features.reference_forces, case.features.n_atoms
    worst = max(force_metrics(forces, target, n_atoms).rmse_per_frame for forces in case.features.forces)
    return Figure(force_metrics(case.prediction.forces, target, n_atoms).rmse_per_frame, worst, "eV/Å")


def repeatable(case: MetaModelCase) -> Figure:
    """Check that two predictions are equal, so that no dropout is left on."""
    return case.compare(case.meta.predict(case.features), case.prediction.forces)


def seeded(case: MetaModelCase) -> Figure:
    """Check that two fits with the same seed give the same predictions."""
    return case.compare(case.fitted("second").predict(case.features), case.prediction.forces)


def labels_unread(case: MetaModelCase) -> Figure:
    """Check that predictions do not depend on the labels."""
    return case.compare(case.meta.predict(replace(case.features, reference=None)), case.prediction.forces)


def save_and_load(case: MetaModelCase) -> Figure:
    """Check that it gives the same predictions after it was saved and loaded."""
    case.meta.save(_saved(case))
    loaded = case.make()
    loaded.load(_saved(case))
    found = loaded.predict(case.features)
    if case.prediction.energy is not None:
        assert found.energy is not None, "energies are lost when it is saved"
        assert np.allclose(found.energy, case.prediction.energy), "energies change when it is saved"
    return case.compare(found, case.prediction.forces)


def no_pickles(case: MetaModelCase) -> Figure:
    """Check that saved files hold no pickle, which could run code when loaded."""
    case.meta.save(_saved(case))
    for path in sorted(path for path in _saved(case).rglob("*") if path.is_file()):
        first = path.read_bytes()[:9]
        # Safetensors begin with the length of their header in eight bytes; a length of 640 looks like a pickle.
        is_safetensors = first[4:] == b"\0\0\0\0{"
        assert is_safetensors or not first.startswith(PICKLES), f"{path.name} holds a pickle: use safetensors and JSON"
    return Figure(0, 0)


def _saved(case: MetaModelCase) -> Path:
    folder = case.folder / "saved"
    folder.mkdir(exist_ok=True)
    return folder


def batched(case: MetaModelCase) -> Figure:
    """Check that a batch gives the same as single structures in another order."""
    order = np.arange(len(case.features))[::-1]
    parts = [case.meta.predict(case.features.subset([index])) for index in order]
    alone = Prediction.concatenate(parts[::-1])
    return case.compare(alone, case.prediction.forces)


def permutation(case: MetaModelCase) -> Figure:
    """Check that forces are permuted with the atoms."""
    rng = case.rng
    orders = [rng.permutation(len(atoms)) for atoms in case.features.structures]
    structures = [atoms[order] for atoms, order in zip(case.features.structures, orders, strict=True)]
    starts = np.cumsum(case.features.n_atoms) - case.features.n_atoms
    rows = np.concatenate([start + order for start, order in zip(starts, orders, strict=True)])
    found = case.meta.predict(_with(case.features, structures, case.features.forces[:, rows]))
    return case.compare(found, case.prediction.forces[rows])


def lattice_vectors(case: MetaModelCase) -> Figure:
    """Check that translations of single atoms by lattice vectors change nothing."""
    if not any(atoms.pbc.any() for atoms in case.features.structures):
        raise NotApplicable("no structure is periodic")
    rng = case.rng
    structures = [moved_by_lattice_vectors(atoms, rng) for atoms in case.features.structures]
    found = case.meta.predict(_with(case.features, structures, case.features.forces))
    return case.compare(found, case.prediction.forces)


def rotation(case: MetaModelCase) -> Figure:
    """Check that forces rotate with the structure and the base forces."""
    turn = random_rotation(case.rng)
    structures = [rotated(atoms, turn) for atoms in case.features.structures]
    found = case.meta.predict(_with(case.features, structures, case.features.forces @ turn.T))
    return case.compare(found, case.prediction.forces @ turn.T, case.tolerances.rotation)


def other_sizes(case: MetaModelCase) -> Figure:
    """Check that structures of different sizes in one batch give the same as each structure alone."""
    first, second = case.features.subset([0]), case.features.subset([1])
    larger = _with(
        second,
        [doubled(second.structures[0])],
        np.tile(second.forces, (1, 2, 1)),
        {name: 2 * energy for name, energy in second.energies.items()},
    )
    both = _with(
        first,
        [*first.structures, *larger.structures],
        np.concatenate([first.forces, larger.forces], axis=1),
        {name: np.concatenate([energy, larger.energies[name]]) for name, energy in first.energies.items()},
    )
    alone = Prediction.concatenate([case.meta.predict(first), case.meta.predict(larger)])
    return case.compare(case.meta.predict(both), alone.forces)


def one_atom(case: MetaModelCase) -> Figure:
    """Check that the force on one atom without neighbours is finite."""
    first = case.features.subset([0])
    atom = Atoms(first.structures[0].symbols[:1], positions=[[0.0, 0.0, 0.0]])
    found = case.meta.predict(_with(first, [atom], np.zeros_like(first.forces[:, :1])))
    assert found.forces.shape == (1, 3), f"forces have shape {found.forces.shape}, expected (1, 3)"
    return Figure(float((~np.isfinite(found.forces)).sum()), 0, "values not finite")


def _with(
    features: Features, structures: list[Atoms], forces: np.ndarray, energies: dict[str, np.ndarray] | None = None
) -> Features:
    """Return features of the same base models for other structures, without labels."""
    energies = dict(features.energies) if energies is None else energies
    return Features(structures, features.models, forces, energies, None, features.source)
