"""EnergyMeta: what the meta-models that learn an energy composed of base energies have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from elmlff_core.arrays import new_array
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import DataError, ElmlffError
from elmlff_core.features.energies import base_stresses
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.meta.equivariant_meta import EquivariantMeta

# Stands for the base models if there are none: it predicts zero, so that the geometry has to explain everything.
NOTHING = "nothing"


class EnergyMeta(EquivariantMeta):
    """Meta-model with a network that gives forces, the energy less a combination of base energies, and stresses."""

    options: Any

    def predict(self, features: Features) -> Prediction:
        """Predict energies, forces as minus their gradient, and stresses if every base model gives them; float64.

        Raises
        ------
        ElmlffError
            An element was not in the training structures, or a base model gives no energies.
        """
        found = self._predicted(features)
        combined = self.energy.apply(self._prepared(features))
        assert combined is not None
        return Prediction(features.n_atoms, found["forces"], combined + found["energy"], found.get("stress"))

    def _graphs_to_predict(self, features: Features) -> GraphDataset:
        # The network corrects the base models a little, so that its rounding in single precision is far below their
        # errors; what is large, their energies and forces, and all sums over atoms are in double precision.
        assert self.network is not None
        graphs = self._graphs(self._prepared(features), torch.float64)
        assert graphs.vectors is not None
        return replace(graphs, vectors=graphs.vectors.to(next(self.network.parameters()).dtype))

    def _graphs(self, features: Features, dtype: torch.dtype = torch.float32) -> GraphDataset:
        """Build graphs with small energies.

        They hold the differences of the aligned base energies, and of the reference, from the linear combination.
        """
        graphs = GraphDataset.from_features(features, self.options.cutoff, images=True, dtype=dtype)
        combined = self.energy.apply(features)
        assert combined is not None
        aligned = self.energy.aligned(features)  # (M, S)
        reference = None if features.reference is None else features.reference.energy
        graphs = _with_stresses(graphs, features, dtype)
        return replace(
            graphs,
            base_energies=torch.from_numpy(np.ascontiguousarray((aligned - combined).T)).to(dtype),
            reference_energy=None if reference is None else torch.from_numpy(reference - combined).to(dtype),
        )


def check_reference_energies(train: Features, meta: str) -> None:
    """Refuse training structures without reference energies for a meta-model that learns an energy."""
    if train.reference is None or train.reference.energy is None:
        raise DataError(f"'{meta}' learns an energy: the training structures need reference energies")


def checked_energies(features: Features, meta: str) -> Features:
    """Return `features`; ElmlffError if a base model gives no energies, which `meta` needs."""
    if missing := [name for name in features.models if name not in features.energies]:
        raise ElmlffError(f"'{meta}' needs energies of every base model; {', '.join(missing)} gives none")
    return features


def with_nothing(features: Features, name: str = NOTHING) -> Features:
    """Return `features` with a further base model called `name`, the last one, that predicts zero."""
    return with_model(features, name, 0.0, np.zeros(len(features)), np.zeros((len(features), 6)))


def with_model(
    features: Features,
    name: str,
    forces: np.ndarray | float,
    energy: np.ndarray,
    stress: np.ndarray | None = None,
) -> Features:
    """Return `features` with a further base model, the last one; shapes and units are those of a `Prediction`."""
    n_models = len(features.models)
    joined = new_array((n_models + 1, *features.forces.shape[1:]))
    joined[:n_models], joined[n_models] = features.forces, forces
    return replace(
        features,
        models=(*features.models, name),
        forces=joined,
        energies={**features.energies, name: energy},
        stresses=features.stresses if stress is None else {**features.stresses, name: stress},
    )


def _with_stresses(graphs: GraphDataset, features: Features, dtype: torch.dtype) -> GraphDataset:
    """Return `graphs` with base stresses and stress labels, if every base model gives a stress of every structure."""
    stresses = base_stresses(features, features.models)  # (S, M, 6)
    if stresses is None:
        return graphs
    volumes = np.array([atoms.cell.volume for atoms in features.structures])
    reference = None if features.reference is None else features.reference.stress
    return replace(
        graphs,
        base_stresses=torch.from_numpy(stresses).to(dtype),
        volumes=torch.from_numpy(volumes).to(dtype),
        reference_stress=None if reference is None else torch.from_numpy(reference).to(dtype),
    )
