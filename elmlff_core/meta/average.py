"""The mean of several fits of one meta-model: with different seeds, and with base models or on geometry only.

Networks that start from different weights err in different directions, so that their mean errs less than each: its
squared error is theirs less the variance over them.  Where they disagree, they know little.  Networks on geometry only
err in other directions still, and validation structures tell how much they are worth: where base models mislead, much.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.protocols import MetaModel
from elmlff_core.features.metrics import mean_rmse_per_frame
from elmlff_core.files import read_record, write_record
from elmlff_core.meta.mean import WeightedMean
from elmlff_core.meta.remembered import Remembered

SHARES = tuple(number / 10 for number in range(10))  # of the fits on geometry only
WEIGHTS_FILE = "average.json"


class WeightsRecord(TypedDict):
    """What ``average.json`` holds."""

    geometry_share: float


class FitAverage(WeightedMean):
    """The mean of other fits, those with base models and those without.

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

    def __init__(
        self, members: Sequence[MetaModel], on_geometry: Sequence[MetaModel] = (), own_energy: bool = False
    ) -> None:
        super().__init__()
        self.members, self.on_geometry, self.own_energy = list(members), list(on_geometry), own_energy
        self.geometry_share = 0.0
        self._unseen = Remembered[Features]()  # one object for all fits on geometry only, which remember it too

    @property
    def all_members(self) -> list[MetaModel]:
        """The fits with base models, then those without."""
        return [*self.members, *self.on_geometry]

    @property
    def weights(self) -> list[float]:
        """The weights of the members with base models, then of those without."""
        seen, unseen = len(self.members), len(self.on_geometry)
        return [(1 - self.geometry_share) / seen] * seen + [self.geometry_share / max(unseen, 1)] * unseen

    @property
    def knows_energy(self) -> list[bool]:
        """Those with base models, and if they learn an energy, those without too."""
        return [True] * len(self.members) + [self.own_energy] * len(self.on_geometry)

    def seen(self, number: int, features: Features) -> Features:
        """Return `features`, without base models for those on geometry only."""
        if number < len(self.members):
            return features
        return self._unseen.value(features, lambda: features.of_models(()))

    def weigh(self, valid: Features) -> None:
        """Give the fits on geometry only the weight with the lowest error on validation structures."""
        geometry = valid.of_models(())
        seen = np.mean([in_blocks(valid, one.predict).forces for one in self.members], axis=0)
        unseen = np.mean([in_blocks(geometry, one.predict).forces for one in self.on_geometry], axis=0)
        errors = [mean_rmse_per_frame((1 - share) * seen + share * unseen, valid) for share in SHARES]
        self.geometry_share = SHARES[int(np.argmin(errors))]

    def save(self, directory: Path) -> None:
        """Write each member to a folder of its own, and the weights."""
        super().save(directory)
        if self.on_geometry:
            write_record(directory / WEIGHTS_FILE, {"geometry_share": self.geometry_share})

    def load(self, directory: Path) -> None:
        """Read what `save` wrote."""
        super().load(directory)
        if self.on_geometry:
            record = read_record(directory / WEIGHTS_FILE, WeightsRecord, "restore it, or stack again")
            self.geometry_share = record["geometry_share"]
