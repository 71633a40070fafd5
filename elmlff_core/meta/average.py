"""The mean of several fits of one meta-model: with different seeds, and with base models or on geometry only.

Networks that start from different weights err in different directions, so that their mean errs less than each: its
squared error is theirs less the variance over them.  Where they disagree, they know little.  Networks on geometry only
err in other directions still: where base models mislead, they hold the mean back.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import CountsParameters, FitRequest, LearntUncertainty, MetaModel, RunsOnDevice
from elmlff_core.errors import ElmlffError
from elmlff_core.features.energies import EnergyCombination


class FitAverage:
    """A meta-model whose prediction is the mean of those of other fits: forces, energies and stresses.

    The mean of energies has the mean of forces as its gradient, so the average of conservative fits is conservative.

    Parameters
    ----------
    members : fits with the base models
    on_geometry : fits without them
    own_energy : whether they learn an energy.  If not, their energy is the linear combination of base energies, and the
        fits without base models, which know none, do not count for it
    """

    std_kind = "seeds"  # see `LearntUncertainty`

    def __init__(
        self, members: Sequence[MetaModel], on_geometry: Sequence[MetaModel] = (), own_energy: bool = False
    ) -> None:
        self.members, self.on_geometry, self.own_energy = list(members), list(on_geometry), own_energy
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

    def predict(self, features: Features) -> Prediction:
        """Predict the mean; raises as the members do."""
        found = self._predictions(features)
        with_energies = found if self.own_energy else found[: len(self.members)]
        return Prediction(found[0].n_atoms, _mean([one.forces for one in found]), _joint(with_energies, "energy"),
                          _joint(with_energies, "stress"))  # fmt: skip

    def forces_std(self, features: Features) -> np.ndarray:
        """Return the standard deviation of force components over the members: (n_rows,), eV/Å.

        If the members learn a standard deviation, the mean of its square is added to the square.
        """
        variance = np.var([one.forces for one in self._predictions(features)], axis=0).mean(axis=1)
        found = [one.forces_std(seen) for one, seen in self._seen(features) if isinstance(one, LearntUncertainty)]
        learnt = [std for std in found if std is not None]
        if learnt:
            variance += np.mean(np.square(learnt), axis=0)
        return np.asarray(np.sqrt(variance))

    def _predictions(self, features: Features) -> list[Prediction]:
        """Return the predictions of the members; forces and their standard deviation are asked for one by one."""
        if self._last is None or self._last[0]() is not features:
            self._last = weakref.ref(features), [member.predict(seen) for member, seen in self._seen(features)]
        return self._last[1]

    def _seen(self, features: Features) -> Iterator[tuple[MetaModel, Features]]:
        """Yield each member with the features that it sees."""
        yield from ((member, features) for member in self.members)
        geometry = features.of_models(()) if self.on_geometry else features
        yield from ((member, geometry) for member in self.on_geometry)

    def to(self, device: str) -> None:
        """Predict on `device` from now on, as `RunsOnDevice`."""
        for member in self.all_members:
            if isinstance(member, RunsOnDevice):
                member.to(device)

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


def _mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.asarray(reduce(add, arrays) / len(arrays))


def _joint(found: Sequence[Prediction], name: str) -> np.ndarray | None:
    """Return the mean of one quantity; None if the members do not predict it."""
    values = [getattr(one, name) for one in found]
    return None if any(value is None for value in values) else _mean(values)
