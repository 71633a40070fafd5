"""Meta-models without training: mean and median of the base models, and the best base model on validation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.hookspecs import Options
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import FitRequest, check_masks
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.features.metrics import force_metrics
from elmlff_core.files import write_bytes, write_json


class NoOptions(Options):
    """No options."""


class _SimpleMeta:
    """Meta-model with forces from a fixed rule, and energies from the combination of aligned base energies."""

    def __init__(self, options: NoOptions) -> None:
        self.options = options
        self.energy = EnergyCombination()

    def fit(self, request: FitRequest) -> None:
        check_masks(self, request.masks)
        self.energy = EnergyCombination.fit(request.train)

    def predict(self, features: Features) -> Prediction:
        return Prediction(features.n_atoms, self._forces(features), self.energy.apply(features))

    def _forces(self, features: Features) -> np.ndarray:
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        # A safetensors file may be empty, so every meta-model has the same two files.
        write_bytes(directory / "meta.safetensors", save(self.energy.tensors()))

    def load(self, directory: Path) -> None:
        self.energy = EnergyCombination.from_tensors(load_file(directory / "meta.safetensors"))


class MeanMeta(_SimpleMeta):
    """The mean of the base forces, and of the aligned base energies and base stresses that belong to these forces.

    Its forces are exactly minus the gradient of its energy if this is so for every base model.
    """

    def fit(self, request: FitRequest) -> None:
        """Align the energies of the base models; every base model has the same weight."""
        super().fit(request)
        n_models = len(self.energy.models)
        self.energy = replace(self.energy, weights=np.full(n_models, 1 / max(n_models, 1)))

    def predict(self, features: Features) -> Prediction:
        """Predict the means of forces, aligned energies and stresses."""
        return replace(super().predict(features), stress=self.energy.stress(features))

    def _forces(self, features: Features) -> np.ndarray:
        return np.asarray(features.forces.mean(axis=0))


class MedianMeta(_SimpleMeta):
    """The median of the base forces, taken for each component; therefore it is not rotation-equivariant."""

    def _forces(self, features: Features) -> np.ndarray:
        return np.asarray(np.median(features.forces, axis=0))


class BestMeta(_SimpleMeta):
    """The base model with the lowest per-frame force RMSE on validation."""

    model: str = ""

    def fit(self, request: FitRequest) -> None:
        """Choose the base model with the lowest error on the validation structures."""
        super().fit(request)
        valid = request.valid
        errors = [
            force_metrics(valid.base_prediction(name).forces, valid.reference_forces, valid.n_atoms).rmse_per_frame
            for name in valid.models
        ]
        self.model = valid.models[int(np.argmin(errors))]

    def _forces(self, features: Features) -> np.ndarray:
        return features.base_prediction(self.model).forces

    def save(self, directory: Path) -> None:
        """Write the name of the chosen base model, and the energy combination."""
        super().save(directory)
        write_json(directory / "best.json", {"model": self.model})

    def load(self, directory: Path) -> None:
        """Read the files that `save` wrote."""
        super().load(directory)
        self.model = json.loads((directory / "best.json").read_text())["model"]
