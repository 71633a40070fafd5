"""The mean of several fits of one meta-model: with different seeds, and with base models or on geometry only.

Networks that start from different weights err in different directions, so that their mean errs less than each: its
squared error is theirs less the variance over them.  Where they disagree, they know little.  Networks on geometry only
err in other directions still, and validation structures tell how much they are worth: where base models mislead, much.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import (
    Compiles,
    CountsParameters,
    FitRequest,
    LearntUncertainty,
    MetaModel,
    RunsOnDevice,
)
from elmlff_core.errors import ElmlffError
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.features.metrics import mean_rmse_per_frame
from elmlff_core.files import read_record, write_record

SHARES = tuple(number / 10 for number in range(10))  # of the fits on geometry only
WEIGHTS_FILE = "average.json"


class WeightsRecord(TypedDict):
    """What ``average.json`` holds."""

    geometry_share: float


class FitAverage:
    """A meta-model whose prediction is the mean of those of other fits: forces, energies and stresses.

    The mean of energies has the mean of forces as its gradient, so the average of conservative fits is conservative.

    Parameters
    ----------
    members : fits with the base models
    on_geometry : fits without them
    own_energy : whether they learn an energy.  If not, their energy is the linear combination of base energies, and the
        fits without base models, which know none, do not count for it

    Attributes
    ----------
    geometry_share : weight of the mean of `on_geometry`, from 0 to 1; `weigh` sets it
    """

    std_kind = "seeds"  # see `LearntUncertainty`

    def __init__(
        self, members: Sequence[MetaModel], on_geometry: Sequence[MetaModel] = (), own_energy: bool = False
    ) -> None:
        self.members, self.on_geometry, self.own_energy = list(members), list(on_geometry), own_energy
        self.geometry_share = 0.0
        self._last: tuple[weakref.ref[Features], list[Prediction]] | None = None

    @property
    def all_members(self) -> list[MetaModel]:
        """The fits with base models, then those without."""
        return [*self.members, *self.on_geometry]

    @property
    def n_parameters(self) -> int | None:
        """The number of trainable parameters of all members; None if they do not report it."""
        counts = [one.n_parameters for one in self.all_members if isinstance(one, CountsParameters)]
        return sum(counts) if len(counts) == len(self.all_members) else None

    @property
    def energy(self) -> EnergyCombination | None:
        """The alignment of the base energies, which does not depend on the seed; None if the members have none."""
        return getattr(self.members[0], "energy", None)

    def fit(self, request: FitRequest) -> None:
        """Refuse: the members are fitted one by one, each in a folder of its own."""
        raise ElmlffError("an average is not fitted: fit the meta-model with several seeds, and average these fits")

    def weigh(self, valid: Features) -> None:
        """Give the fits on geometry only the weight with the lowest error on validation structures."""
        geometry = valid.of_models(())
        seen = np.mean([in_blocks(valid, one.predict).forces for one in self.members], axis=0)
        unseen = np.mean([in_blocks(geometry, one.predict).forces for one in self.on_geometry], axis=0)
        errors = [mean_rmse_per_frame((1 - share) * seen + share * unseen, valid) for share in SHARES]
        self.geometry_share = SHARES[int(np.argmin(errors))]

    def predict(self, features: Features) -> Prediction:
        """Predict the mean; raises as the members do."""
        found = self._predictions(features)
        forces = _mean([one.forces for one in found], self._weights)
        with_energies = found if self.own_energy else found[: len(self.members)]
        energy, stress = (_joint(with_energies, name, self._weights) for name in ("energy", "stress"))
        return Prediction(found[0].n_atoms, forces, energy, stress)

    def forces_std(self, features: Features) -> np.ndarray:
        """Return the standard deviation of force components over the members: (n_rows,), eV/Å.

        If the members learn a standard deviation, the mean of its square is added to the square.
        """
        forces = [one.forces for one in self._predictions(features)]
        mean = _mean(forces, self._weights)
        variance = _mean([((one - mean) ** 2).mean(axis=1) for one in forces], self._weights)
        found = [one.forces_std(seen) for one, seen in self._used(features) if isinstance(one, LearntUncertainty)]
        learnt = [std for std in found if std is not None]
        if learnt:
            variance = variance + np.mean(np.square(learnt), axis=0)
        return np.asarray(np.sqrt(variance))

    def _predictions(self, features: Features) -> list[Prediction]:
        """Return the predictions of the members; forces and their standard deviation are asked for one by one."""
        if self._last is None or self._last[0]() is not features:
            self._last = weakref.ref(features), [member.predict(seen) for member, seen in self._used(features)]
        return self._last[1]

    def _used(self, features: Features) -> Iterator[tuple[MetaModel, Features]]:
        """Yield each member that has a weight, and the features that it sees."""
        yield from ((member, features) for member in self.members)
        if self.geometry_share:
            geometry = features.of_models(())
            yield from ((member, geometry) for member in self.on_geometry)

    @property
    def _weights(self) -> list[float]:
        """The weights of the members with base models, then of those without."""
        seen, unseen = len(self.members), len(self.on_geometry)
        return [(1 - self.geometry_share) / seen] * seen + [self.geometry_share / max(unseen, 1)] * unseen

    def to(self, device: str) -> None:
        """Predict on `device` from now on, as `RunsOnDevice`."""
        for member in self.all_members:
            if isinstance(member, RunsOnDevice):
                member.to(device)

    def compile(self, features: Features) -> None:
        """Compile the network of each member, as `Compiles`."""
        for member, seen in self._used(features):
            if isinstance(member, Compiles):
                member.compile(seen)

    def leave_compiled(self) -> None:
        """Predict with the networks of the members themselves, as `Compiles`."""
        for member in self.all_members:
            if isinstance(member, Compiles):
                member.leave_compiled()

    def save(self, directory: Path) -> None:
        """Write each member to a folder of its own, and the weights."""
        for number, member in enumerate(self.all_members):
            folder = directory / str(number)
            folder.mkdir(exist_ok=True)
            member.save(folder)
        if self.on_geometry:
            write_record(directory / WEIGHTS_FILE, {"geometry_share": self.geometry_share})

    def load(self, directory: Path) -> None:
        """Read what `save` wrote."""
        for number, member in enumerate(self.all_members):
            member.load(directory / str(number))
        if self.on_geometry:
            record = read_record(directory / WEIGHTS_FILE, WeightsRecord, "restore it, or stack again")
            self.geometry_share = record["geometry_share"]


def _mean(arrays: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Return the mean of `arrays` with the first of `weights`, which need not add up to one."""
    return np.asarray(np.average(arrays, axis=0, weights=weights[: len(arrays)]))


def _joint(found: Sequence[Prediction], name: str, weights: Sequence[float]) -> np.ndarray | None:
    """Return the mean of one quantity; None if the members do not predict it."""
    values = [getattr(one, name) for one in found]
    return None if any(value is None for value in values) else _mean(values, weights)
