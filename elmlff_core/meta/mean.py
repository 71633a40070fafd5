"""The weighted mean of other meta-models as a meta-model: what averages and mixtures have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from elmlff_core.contracts.features import Features
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
from elmlff_core.meta.remembered import Remembered


class WeightedMean(ABC):
    """A meta-model whose prediction is a weighted mean of those of other fits: forces, energies and stresses.

    The mean of energies has the mean of forces as its gradient, so the mean of conservative fits is conservative.
    """

    std_kind = "seeds"  # see `LearntUncertainty`

    def __init__(self) -> None:
        self._last = Remembered[dict[int, Prediction]]()

    @property
    @abstractmethod
    def all_members(self) -> Sequence[MetaModel]:
        """The fits whose mean it is, those without a weight too."""

    @property
    @abstractmethod
    def weights(self) -> Sequence[float]:
        """The weight of each of `all_members`; they add up to one.  What has no weight is not evaluated."""

    @property
    @abstractmethod
    def knows_energy(self) -> Sequence[bool]:
        """Whether each of `all_members` counts for energy and stress."""

    def seen(self, number: int, features: Features) -> Features:
        """Return the part of `features` that the member `number` sees."""
        return features

    @property
    def n_parameters(self) -> int | None:
        """The number of trainable parameters of all members; None if they do not report it."""
        counts = [one.n_parameters for one in self.all_members if isinstance(one, CountsParameters)]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(self.all_members) else None

    @property
    def energy(self) -> EnergyCombination | None:
        """The alignment of the base energies of the first member that counts for energy; None if it has none."""
        return getattr(self.all_members[self._for_energy[0]], "energy", None)

    def fit(self, request: FitRequest) -> None:
        """Refuse: the members are fitted one by one, each in a folder of its own."""
        raise ElmlffError("an average is not fitted: fit its meta-models, and average these fits")

    def predict(self, features: Features) -> Prediction:
        """Predict the mean; raises as the members do."""
        found = self._last.keep(features, self._predictions(features))
        first = next(iter(found.values()))
        of_energy = {number: found[number] for number in self._for_energy}
        energy, stress = (self._joint(of_energy, name) for name in ("energy", "stress"))
        forces = self._mean({number: one.forces for number, one in found.items()})
        return Prediction(first.n_atoms, forces, energy, stress)

    def forces_std(self, features: Features) -> np.ndarray:
        """Return the standard deviation of force components over the members: (n_rows,), eV/Å.

        If members have a standard deviation of their own, the mean of its square is added to the square.
        """
        found = self._last.value(features, lambda: self._predictions(features))
        forces = {number: one.forces for number, one in found.items()}
        mean = self._mean(forces)
        variance = self._mean({number: ((one - mean) ** 2).mean(axis=1) for number, one in forces.items()})
        own = {}
        for number in self._used:
            member = self.all_members[number]
            std = member.forces_std(self.seen(number, features)) if isinstance(member, LearntUncertainty) else None
            if std is not None:
                own[number] = np.square(std)
        return np.asarray(np.sqrt(variance + self._mean(own) if own else variance))

    def _predictions(self, features: Features) -> dict[int, Prediction]:
        """Return the predictions of the members that have a weight, by their numbers."""
        return {number: self.all_members[number].predict(self.seen(number, features)) for number in self._used}

    @property
    def _used(self) -> list[int]:
        return [number for number, weight in enumerate(self.weights) if weight]

    @property
    def _for_energy(self) -> list[int]:
        """Those that are used and count for energy and stress; if there is none, all that are used."""
        return [number for number in self._used if self.knows_energy[number]] or self._used

    def _mean(self, arrays: dict[int, np.ndarray]) -> np.ndarray:
        """Return the mean of the arrays of some members by their weights, which need not add up to one."""
        weights = [self.weights[number] for number in arrays]
        return np.asarray(np.average(list(arrays.values()), axis=0, weights=weights))

    def _joint(self, found: dict[int, Prediction], name: str) -> np.ndarray | None:
        """Return the mean of one quantity; None if the members do not predict it."""
        values = {number: getattr(one, name) for number, one in found.items()}
        return None if any(value is None for value in values.values()) else self._mean(values)

    def to(self, device: str) -> None:
        """Predict on `device` from now on, as `RunsOnDevice`."""
        for member in self.all_members:
            if isinstance(member, RunsOnDevice):
                member.to(device)

    def compile(self, features: Features) -> None:
        """Compile the network of each member, as `Compiles`."""
        for number in self._used:
            member = self.all_members[number]
            if isinstance(member, Compiles):
                member.compile(self.seen(number, features))

    def leave_compiled(self) -> None:
        """Predict with the networks of the members themselves, as `Compiles`."""
        for member in self.all_members:
            if isinstance(member, Compiles):
                member.leave_compiled()

    def save(self, directory: Path) -> None:
        """Write each member to a folder of its own."""
        for number, member in enumerate(self.all_members):
            folder = directory / str(number)
            folder.mkdir(exist_ok=True)
            member.save(folder)

    def load(self, directory: Path) -> None:
        """Read what `save` wrote."""
        for number, member in enumerate(self.all_members):
            member.load(directory / str(number))
