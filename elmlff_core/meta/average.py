"""The mean of several fits of one meta-model, which differ in their seeds.

Networks that start from different weights err in different directions, so that their mean errs less than each: its
squared error is theirs less the variance over the seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import CountsParameters, FitRequest, LearntUncertainty, MetaModel, RunsOnDevice
from elmlff_core.errors import ElmlffError
from elmlff_core.features.energies import EnergyCombination


class SeedAverage:
    """A meta-model whose prediction is the mean of those of `members`: forces, energies and stresses.

    The mean of energies has the mean of forces as its gradient, so the average of conservative fits is conservative.
    """

    def __init__(self, members: Sequence[MetaModel]) -> None:
        self.members = list(members)

    @property
    def n_parameters(self) -> int | None:
        """The number of trainable parameters of all members; None if they do not report it."""
        counts = [one.n_parameters for one in self.members if isinstance(one, CountsParameters)]
        return sum(counts) if len(counts) == len(self.members) else None

    @property
    def energy(self) -> EnergyCombination | None:
        """The alignment of the base energies, which does not depend on the seed; None if the members have none."""
        return getattr(self.members[0], "energy", None)

    def fit(self, request: FitRequest) -> None:
        """Refuse: the members are fitted one by one, each in a folder of its own."""
        raise ElmlffError("an average is not fitted: fit the meta-model with several seeds, and average these fits")

    def predict(self, features: Features) -> Prediction:
        """Predict the mean; raises as the members do."""
        found = [member.predict(features) for member in self.members]
        return Prediction(found[0].n_atoms, _mean([one.forces for one in found]), _joint(found, "energy"),
                          _joint(found, "stress"))  # fmt: skip

    def forces_std(self, features: Features) -> np.ndarray | None:
        """Return the standard deviation of force components: (n_rows,), eV/Å; None if it is not learnt.

        Its square is the mean of the squares of the members, and the variance over them.
        """
        found = [one.forces_std(features) for one in self.members if isinstance(one, LearntUncertainty)]
        learnt = [std for std in found if std is not None]
        if not learnt:
            return None
        forces = np.stack([member.predict(features).forces for member in self.members])
        return np.asarray(np.sqrt(np.mean(np.square(learnt), axis=0) + forces.var(axis=0).mean(axis=1)))

    def to(self, device: str) -> None:
        """Predict on `device` from now on, as `RunsOnDevice`."""
        for member in self.members:
            if isinstance(member, RunsOnDevice):
                member.to(device)

    def save(self, directory: Path) -> None:
        """Write each member to a folder of its own."""
        for number, member in enumerate(self.members):
            folder = directory / str(number)
            folder.mkdir(exist_ok=True)
            member.save(folder)

    def load(self, directory: Path) -> None:
        """Read what `save` wrote."""
        for number, member in enumerate(self.members):
            member.load(directory / str(number))


def n_averaged(meta: MetaModel) -> int:
    """Return the number of fits whose mean `meta` is, one if it is no average."""
    return len(meta.members) if isinstance(meta, SeedAverage) else 1


def _mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.asarray(reduce(add, arrays) / len(arrays))


def _joint(found: Sequence[Prediction], name: str) -> np.ndarray | None:
    """Return the mean of one quantity; None if the members do not predict it."""
    values = [getattr(one, name) for one in found]
    return None if any(value is None for value in values) else _mean(values)
