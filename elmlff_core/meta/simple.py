"""Meta-models without training: the mean and the median of the bases, and the best base on validation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.hookspecs import Options
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import FitRequest, check_masks
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.features.metrics import force_metrics


class NoOptions(Options):
    """No options."""


class _SimpleMeta:
    """Forces by a fixed rule; energies by the combination of aligned base energies."""

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
        # safetensors files may be empty, so that every meta-model is the same two files
        save_file(self.energy.tensors(), directory / "meta.safetensors")

    def load(self, directory: Path) -> None:
        self.energy = EnergyCombination.from_tensors(load_file(directory / "meta.safetensors"))


class MeanMeta(_SimpleMeta):
    """The mean of the bases' forces."""

    def _forces(self, features: Features) -> np.ndarray:
        return np.asarray(features.forces.mean(axis=0))


class MedianMeta(_SimpleMeta):
    """The component-wise median of the bases' forces; components, so that it is not rotation-equivariant."""

    def _forces(self, features: Features) -> np.ndarray:
        return np.asarray(np.median(features.forces, axis=0))


class BestMeta(_SimpleMeta):
    """The base with the lowest per-frame force RMSE on validation."""

    model: str = ""

    def fit(self, request: FitRequest) -> None:
        """Choose by validation structures."""
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
        """Write the name of the chosen base beside the energies."""
        super().save(directory)
        (directory / "best.json").write_text(json.dumps({"model": self.model}))

    def load(self, directory: Path) -> None:
        """Read what `save` wrote."""
        super().load(directory)
        self.model = json.loads((directory / "best.json").read_text())["model"]
