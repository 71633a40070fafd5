"""Each check of the kit finds its fault, in a meta-model that is correct apart from this fault."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import ElmlffError
from elmlff_core.testing import check_meta_model, example_features
from elmlff_core.testing.meta_model import CHECKS

FEATURES = example_features(8)


class Sound:
    """A weighted mean of the base models; each subclass has one fault."""

    def __init__(self) -> None:
        self.weights: list[float] = []

    def fit(self, request) -> None:
        errors = ((request.train.forces - request.train.reference_forces) ** 2).mean(axis=(1, 2))
        self.weights = list((1 / errors) / (1 / errors).sum())

    def predict(self, features) -> Prediction:
        return Prediction(features.n_atoms, self.forces(features))

    def forces(self, features):
        return np.einsum("m,mrx->rx", np.array(self.weights), features.forces)

    def save(self, directory) -> None:
        (directory / "weights.json").write_text(json.dumps(self.weights))

    def load(self, directory) -> None:
        self.weights = json.loads((directory / "weights.json").read_text())


class CannotBeFitted(Sound):
    def fit(self, request):
        raise RuntimeError("singular")


class LosesAnAtom(Sound):
    def forces(self, features):
        return super().forces(features)[:-1]


class ReturnsNaN(Sound):
    def forces(self, features):
        return super().forces(features) * np.nan


class Exaggerates(Sound):
    def forces(self, features):
        return 5 * super().forces(features)


class Forgets(Sound):
    """Dropout that was left on."""

    rng = np.random.default_rng(0)

    def forces(self, features):
        return super().forces(features) * (self.rng.random() + 0.5)


class IgnoresTheSeed(Sound):
    rng = np.random.default_rng(0)

    def fit(self, request):
        self.weights = list(self.rng.dirichlet(np.ones(len(request.train.models))))


class Peeks(Sound):
    def forces(self, features):
        return super().forces(features) if features.reference is None else features.reference.forces


class SavesTooLittle(Sound):
    def save(self, directory):
        (directory / "weights.json").write_text(json.dumps([round(weight, 1) for weight in self.weights]))


class Pickles(Sound):
    def save(self, directory):
        (directory / "weights.pkl").write_bytes(pickle.dumps(self.weights))

    def load(self, directory):
        self.weights = pickle.loads((directory / "weights.pkl").read_bytes())


class NormalisesByBatch(Sound):
    def forces(self, features):
        forces = super().forces(features)
        return forces / np.abs(forces).mean()


class KnowsItsFirstAtom(Sound):
    def forces(self, features):
        forces = super().forces(features).copy()
        forces[np.cumsum(features.n_atoms) - features.n_atoms] *= 0.5
        return forces


class Unwrapped(Sound):
    def forces(self, features):
        positions = np.concatenate([atoms.positions - atoms.positions.mean(axis=0) for atoms in features.structures])
        return super().forces(features) * (1 + 0.01 * np.linalg.norm(positions, axis=1, keepdims=True))


class ComponentWise(Sound):
    def forces(self, features):
        return np.median(features.forces, axis=0)


class FixedSize(Sound):
    def forces(self, features):
        return super().forces(features).reshape(len(features), 8, 3).reshape(-1, 3)


class DividesByNeighbours(Sound):
    def forces(self, features):
        with np.errstate(all="ignore"):
            others = np.repeat(features.n_atoms - 1, features.n_atoms)[:, None].astype(float)
            return super().forces(features) * others / others


FAULTS: dict[str, type[Sound]] = {
    "fit": CannotBeFitted,
    "shapes": LosesAnAtom,
    "finite": ReturnsNaN,
    "no_worse_than_worst_base": Exaggerates,
    "repeatable": Forgets,
    "seeded": IgnoresTheSeed,
    "labels_unread": Peeks,
    "save_and_load": SavesTooLittle,
    "no_pickles": Pickles,
    "batched": NormalisesByBatch,
    "permutation": KnowsItsFirstAtom,
    "lattice_vectors": Unwrapped,
    "rotation": ComponentWise,
    "other_sizes": FixedSize,
    "one_atom": DividesByNeighbours,
}


def test_the_sound_one_passes():
    assert {check.status for check in check_meta_model(Sound, FEATURES).checks} == {"passed"}


def test_every_check_has_a_fault_here():
    assert set(FAULTS) == {"fit", *CHECKS}


@pytest.mark.parametrize("check", FAULTS)
def test_the_fault_is_caught(check):
    report = check_meta_model(FAULTS[check], FEATURES, raise_on_failure=False)
    assert check in report.failed, report
    with pytest.raises(AssertionError, match=check):
        report.raise_for_failures()


def test_a_refusal_is_no_failure():
    class Tied(Sound):
        def forces(self, features):
            if any(len(atoms) != 8 for atoms in features.structures):
                raise ElmlffError("tied to eight atoms")
            return super().forces(features)

    report = check_meta_model(Tied, FEATURES)
    assert report["other_sizes"].note == "refused: tied to eight atoms"
