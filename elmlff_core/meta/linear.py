"""`linear`: the linear combination of the base models as a meta-model, in closed form.

Each element has one set of weights from least squares on the training structures, as in the linear stacking of Breiman
(1996); see `elmlff_core.features.linear_combination`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from safetensors.numpy import load_file, save

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.hookspecs import Options
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import FitRequest, check_masks
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.features.guard import Guard
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.features.shrinkage import validated_shrinkage
from elmlff_core.files import write_bytes


class LinearOptions(Options):
    """Options of `linear`.

    Attributes
    ----------
    ridge : shrinks the weights towards the mean of the base models
    nonnegative : whether weights are constrained to be zero or positive
    guard : whether a base model that is far away from the others is pulled back before it is weighted
    shrinkage : shrinks the weights of each element towards those of all elements, as if the element had this many more
        atoms with the latter; ``auto`` takes what cross-validation prefers, if it is better than none
    """

    ridge: float = Field(0.0, ge=0)
    nonnegative: bool = False
    guard: bool = True
    shrinkage: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"


class LinearMeta:
    """The linear combination, weighted by least squares per element, as a meta-model."""

    def __init__(self, options: LinearOptions) -> None:
        self.options = options
        self.combination: LinearCombination | None = None
        self.guard: Guard | None = None
        self.energy = EnergyCombination()

    def fit(self, request: FitRequest) -> None:
        """Fit in closed form on the training structures; validation structures are not used."""
        check_masks(self, request.masks)
        self.guard = Guard.fit(request.train) if self.options.guard else None
        train = self._guarded(request.train)
        shrinkage = validated_shrinkage(train) if self.options.shrinkage == "auto" else self.options.shrinkage
        self.combination = LinearCombination.fit(train, self.options.ridge, self.options.nonnegative, shrinkage)
        self.energy = EnergyCombination.fit(request.train)

    def predict(self, features: Features) -> Prediction:
        """Predict combined forces, and energies and stresses of the combination of aligned base energies."""
        assert self.combination is not None, "fit or load first"
        forces, energy = self.combination.apply(self._guarded(features)), self.energy.apply(features)
        return Prediction(features.n_atoms, forces, energy, self.energy.stress(features))

    def _guarded(self, features: Features) -> Features:
        return features if self.guard is None else self.guard.apply(features)

    def save(self, directory: Path) -> None:
        """Write the weights to a safetensors file."""
        assert self.combination is not None, "fit or load first"
        tensors = {"atomic_numbers": self.combination.atomic_numbers, "weights": self.combination.weights}
        guard = {} if self.guard is None else self.guard.tensors()
        write_bytes(directory / "meta.safetensors", save(tensors | guard | self.energy.tensors()))

    def load(self, directory: Path) -> None:
        """Read the files that `save` wrote."""
        tensors = load_file(directory / "meta.safetensors")
        self.combination = LinearCombination(tensors["atomic_numbers"], tensors["weights"])
        self.guard = Guard.from_tensors(tensors)
        self.energy = EnergyCombination.from_tensors(tensors)
