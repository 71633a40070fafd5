"""Real base models for physics tests: Deep Potential, NEP and PaiNN, trained here, all in double precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from ase import Atoms

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.protocols import BaseForceField


class BaseModels:
    """Predicts features with real base force fields."""

    def __init__(self, models: Sequence[BaseForceField]) -> None:
        self.models = models

    def features(self, structures: Sequence[Atoms], dataset: Dataset | None = None) -> Features:
        """Predict `structures` with the base models."""
        predictions = {model.name: model.predict(structures) for model in self.models}
        return Features.from_predictions(structures, predictions, dataset)


@pytest.fixture(scope="session")
def base_models(trained: Callable[[str], BaseForceField]) -> BaseModels:
    return BaseModels([trained("dp"), trained("nep"), trained("painn")])


@pytest.fixture(scope="session")
def learnt_from(base_models: BaseModels, tiny_data: tuple[Dataset, Dataset]) -> tuple[Features, Features]:
    """Training and validation features: molecules without a cell, and molecules in periodic boxes."""
    train, valid = tiny_data
    return base_models.features(train.structures, train), base_models.features(valid.structures, valid)


@pytest.fixture
def crystal() -> Atoms:
    """Two molecules in a skewed periodic cell, so small that atoms have several images of each other as neighbours."""
    rng = np.random.default_rng(5)
    atoms = Atoms("CH4CH4", cell=[[4.6, 0, 0], [0.8, 4.9, 0], [0.3, 0.5, 6.2]], pbc=True)
    tetrahedron = 0.63 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    molecule = np.vstack([np.zeros(3), tetrahedron])
    atoms.positions = np.vstack([molecule + 1.2, molecule + np.array([3.2, 3.0, 4.3])]) + rng.normal(
        scale=0.05, size=(10, 3)
    )
    return atoms
