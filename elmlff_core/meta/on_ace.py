"""`egat-ace` and `conservative-ace`: a network over base models, of which one more is `ace`.

`ace` learns from few structures and is smooth; the network corrects what is not linear.  The network must not see how
well `ace` knows the training structures by heart: their predictions come from fits without them, as those of base
models that are trained across folds do.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import FitRequest, check_masks
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.files import write_bytes
from elmlff_core.meta.ace import ACEMeta
from elmlff_core.meta.conservative import ConservativeMeta
from elmlff_core.meta.egat import EGATMeta
from elmlff_core.meta.energy_meta import with_model
from elmlff_core.meta.options import ACEOptions, ConservativeOnACEOptions, EGATOnACEOptions
from elmlff_core.meta.remembered import Remembered

ACE = "(ace)"  # no base model can have this name
PREDICTIONS = "predictions.safetensors"  # of the training structures


class OnACEMeta:
    """A meta-model over base models and `ace`.

    Parameters
    ----------
    options : of `ace`
    top : meta-model with a network, for which `ace` is one more base model
    name : name of the folder to which `top` is saved
    """

    def __init__(self, options: ACEOptions, top: EGATMeta | ConservativeMeta, name: str) -> None:
        self.ace, self.top, self._name = ACEMeta(options, with_std=False), top, name
        self._last = Remembered[Features]()

    @property
    def _parts(self) -> dict[str, ACEMeta | EGATMeta | ConservativeMeta]:
        return {"ace": self.ace, self._name: self.top}

    @property
    def n_parameters(self) -> int:
        """The number of parameters of the network and coefficients of `ace`, 0 before they are fitted or loaded."""
        return self.ace.n_parameters + self.top.n_parameters

    @property
    def energy(self) -> EnergyCombination:
        """The linear combination of the energies of the base models and of `ace`."""
        return self.top.energy

    def fit(self, request: FitRequest) -> None:
        """Fit `ace`, then the network; raises as both do.  An interrupted fit resumes after `ace`."""
        check_masks(self, request.masks)
        train = with_prediction(request.train, self._fit_ace(request))
        self.top.fit(replace(request, train=train, valid=self._with_ace(request.valid)))
        shutil.rmtree(request.directory / "ace")

    def _fit_ace(self, request: FitRequest) -> Prediction:
        """Fit `ace`, or take what was fitted before an interruption; return predictions of training structures."""
        folder = request.directory / "ace"
        if (folder / PREDICTIONS).exists():
            self.ace.load(folder)
            known = load_file(folder / PREDICTIONS)
            return Prediction(request.train.n_atoms, known["forces"], known["energy"], known.get("stress"))
        found = self.ace.fit_and_predict(request)
        folder.mkdir(exist_ok=True)
        self.ace.save(folder)
        arrays = {"forces": found.forces, "energy": found.energy, "stress": found.stress}
        write_bytes(folder / PREDICTIONS, save({name: one for name, one in arrays.items() if one is not None}))
        return found

    def predict(self, features: Features) -> Prediction:
        """Predict with the network, which sees `ace`."""
        return self.top.predict(self._with_ace(features))

    def forces_std(self, features: Features) -> np.ndarray | None:
        """Return the standard deviation that the network has learnt, as `LearntUncertainty`."""
        return self.top.forces_std(self._with_ace(features))

    def _with_ace(self, features: Features) -> Features:
        def found() -> Features:
            return with_prediction(features, self.ace.predict(features))

        return self._last.value(features, found, by=self.ace.network)

    def to(self, device: str) -> None:
        """Predict on `device` from now on, as `RunsOnDevice`."""
        for part in self._parts.values():
            part.to(device)

    def save(self, directory: Path) -> None:
        """Write `ace` and the network to folders of their own."""
        for name, part in self._parts.items():
            (directory / name).mkdir(exist_ok=True)
            part.save(directory / name)

    def load(self, directory: Path) -> None:
        """Read what `save` wrote."""
        for name, part in self._parts.items():
            part.load(directory / name)


class EGATOnACEMeta(OnACEMeta):
    """The meta-model `egat-ace`."""

    def __init__(self, options: EGATOnACEOptions) -> None:
        super().__init__(options.ace, EGATMeta(options), "egat")

    def predict(self, features: Features) -> Prediction:
        """Predict forces with the network, energies as a linear combination with that of `ace`, and their stresses."""
        return replace(super().predict(features), stress=self.energy.stress(self._with_ace(features)))


class ConservativeOnACEMeta(OnACEMeta):
    """The meta-model `conservative-ace`, whose forces are the gradient of an energy."""

    def __init__(self, options: ConservativeOnACEOptions) -> None:
        super().__init__(options.ace, ConservativeMeta(options), "conservative")


def with_prediction(features: Features, prediction: Prediction) -> Features:
    """Return `features` with `ace` as a further base model that predicts `prediction`."""
    assert prediction.energy is not None
    return with_model(features, ACE, prediction.forces, prediction.energy, prediction.stress)
