"""Per-element least squares: the best fixed mix of the bases, closed form.

For atoms of element Z the mix is ``F = sum_m w[Z, m] F_m`` with the weights that minimise the squared error on the
training structures: the classical linear stacking of Breiman (1996), one set of weights per element.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from safetensors.numpy import load_file, save_file

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.hookspecs import Options
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.features.energies import EnergyMix
from elmlff_core.features.linear_combination import ElementMix


class LinearOptions(Options):
    """Options of `linear`.

    Attributes
    ----------
    ridge : shrinks the weights towards the plain mean
    nonnegative : whether weights below zero are refused
    """

    ridge: float = Field(0.0, ge=0)
    nonnegative: bool = False


class LinearMeta:
    """The per-element least-squares mix as a meta-model."""

    def __init__(self, options: LinearOptions) -> None:
        self.options = options
        self.mix: ElementMix | None = None
        self.energy = EnergyMix()

    def fit(self, request: FitRequest) -> None:
        """Closed form on the training structures; validation is not used."""
        self.mix = ElementMix.fit(request.train, self.options.ridge, self.options.nonnegative)
        self.energy = EnergyMix.fit(request.train)

    def predict(self, features: Features) -> Prediction:
        """Mixed forces, and the mix of aligned base energies."""
        assert self.mix is not None, "fit or load first"
        return Prediction(features.n_atoms, self.mix.apply(features), self.energy.apply(features))

    def save(self, directory: Path) -> None:
        """Write weights as safetensors."""
        assert self.mix is not None, "fit or load first"
        tensors = {"atomic_numbers": self.mix.atomic_numbers, "weights": self.mix.weights}
        save_file(tensors | self.energy.tensors(), directory / "meta.safetensors")

    def load(self, directory: Path) -> None:
        """Read what `save` wrote."""
        tensors = load_file(directory / "meta.safetensors")
        self.mix = ElementMix(tensors["atomic_numbers"], tensors["weights"])
        self.energy = EnergyMix.from_tensors(tensors)
