"""EquivariantMeta: what the meta-models with equivariant networks have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.graphs.evaluation import evaluate_outputs
from elmlff_core.meta.neural import NeuralMeta
from elmlff_core.meta.options import AttentionOptions
from elmlff_core.meta.remembered import Remembered

N_FOR_NEIGHBOURS = 100  # structures from which the mean number of neighbours, the scale of sums, is computed


class EquivariantMeta(NeuralMeta):
    """Meta-model with an equivariant network, which may also learn a standard deviation of its forces."""

    options: AttentionOptions

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._last = Remembered[np.ndarray]()  # standard deviations

    def fit(self, request: FitRequest) -> None:
        """Fit as `NeuralMeta`; where the state before training was the best one, no standard deviation was learnt."""
        super().fit(request)
        network: Any = self.network
        if network.variance is not None and not network.variance.has_learnt:
            network.variance, self.shapes["learns_std"] = None, False

    def predict(self, features: Features) -> Prediction:
        """Predict as `NeuralMeta`."""
        return Prediction(features.n_atoms, self._predicted(features)["forces"], self.energy.apply(features))

    def forces_std(self, features: Features) -> np.ndarray | None:
        """Return the learnt standard deviation of force components: (n_rows,), eV/Å.

        It was found with the forces if these features were the last ones that were predicted.  None without the option
        `variance`, for a fit of a version without it, and where the state before training was the best one.
        """
        if not self._learns_std:
            return None
        return self._last.value(features, lambda: self._outputs(features)["forces_std"], by=self.network).copy()

    def _predicted(self, features: Features) -> dict[str, np.ndarray]:
        """Return what the network gives for `features`, and remember the standard deviation."""
        found = self._outputs(features)
        if self._learns_std:
            self._last.keep(features, found["forces_std"], by=self.network)
        return found

    def _outputs(self, features: Features) -> dict[str, np.ndarray]:
        """Return what the network gives for `features`, as `evaluate_outputs`."""
        assert self.network is not None, "fit or load first"
        self._check(features)
        return evaluate_outputs(self.network, self._graphs_to_predict(features))

    def _shapes(self, train: Features) -> dict[str, Any]:
        neighbours = mean_neighbours(train, self.options.cutoff)
        return super()._shapes(train) | {"n_neighbours": neighbours, "learns_std": self.options.variance}

    @property
    def _learns_std(self) -> bool:
        # Fits of versions that learnt it only if asked for do not say so in their shapes.
        asked = "variance" in self.options.model_fields_set and self.options.variance
        return bool(self.shapes.get("learns_std", asked))

    def _arguments(self) -> tuple[Any, ...]:
        """Return options, number of base models, elements and mean number of neighbours, from which a network is."""
        options = self.options.model_copy(update={"variance": self._learns_std})
        numbers = torch.tensor(self.shapes["atomic_numbers"])
        return options, self.shapes["n_models"], numbers, self.shapes["n_neighbours"]


def mean_neighbours(train: Features, cutoff: float) -> float:
    """Return the mean number of neighbours of an atom within `cutoff` (Å), at least one."""
    some = GraphDataset.from_features(train.subset(range(min(len(train), N_FOR_NEIGHBOURS))), cutoff, images=True)
    return max(1.0, some.edges.shape[1] / len(some.atomic_numbers))
