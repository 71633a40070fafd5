"""The mean of different meta-models.

A network that learns forces and one that learns an energy err in different directions, more so than two seeds of one.
Their mean errs less than each where both are about as good; where one is much better, validation structures give the
other no weight.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.protocols import MetaModel
from elmlff_core.features.metrics import mean_rmse_per_frame
from elmlff_core.files import read_record, write_record
from elmlff_core.meta.mean import WeightedMean

STEPS = 10  # weights are multiples of a tenth
WEIGHTS_FILE = "mixture.json"


class MixtureRecord(TypedDict):
    """What ``mixture.json`` holds."""

    weights: list[float]


class Mixture(WeightedMean):
    """The mean of fits of different meta-models, or of their averages.

    Parameters
    ----------
    names : of the meta-models
    members : one for each of them
    own_energy : whether each learns an energy.  Those that do give the energy and the stress; the energy of the others
        is the linear combination of base energies, and counts if no other has a weight
    """

    def __init__(self, names: Sequence[str], members: Sequence[MetaModel], own_energy: Sequence[bool]) -> None:
        super().__init__()
        self.names, self.members, self.own_energy = tuple(names), list(members), list(own_energy)
        self._weights = [1 / len(self.members)] * len(self.members)

    def __str__(self) -> str:
        weights = [f"{weight:.1f} {name}" for weight, name in zip(self.weights, self.names, strict=True) if weight]
        return " + ".join(weights)

    @property
    def all_members(self) -> list[MetaModel]:
        """One for each meta-model."""
        return self.members

    @property
    def weights(self) -> list[float]:
        """The weight of each meta-model: the same, until `weigh`."""
        return self._weights

    @property
    def knows_energy(self) -> list[bool]:
        """Those that learn an energy."""
        return self.own_energy

    def weigh(self, valid: Features) -> None:
        """Take the weights with the lowest error on validation structures, of all multiples of a tenth."""
        forces = [in_blocks(valid, one.predict).forces for one in self.members]
        candidates = [[count / STEPS for count in counts] for counts in _compositions(STEPS, len(forces))]
        errors = [mean_rmse_per_frame(np.tensordot(weights, forces, axes=1), valid) for weights in np.array(candidates)]
        self._weights = candidates[int(np.argmin(errors))]

    def save(self, directory: Path) -> None:
        """Write each member to a folder of its own, and the weights."""
        super().save(directory)
        write_record(directory / WEIGHTS_FILE, {"weights": self._weights})

    def load(self, directory: Path) -> None:
        """Read what `save` wrote."""
        super().load(directory)
        self._weights = read_record(directory / WEIGHTS_FILE, MixtureRecord, "restore it, or stack again")["weights"]


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Yield all tuples of `parts` numbers from zero on that add up to `total`."""
    for bars in itertools.combinations(range(total + parts - 1), parts - 1):
        edges = (-1, *bars, total + parts - 1)
        yield tuple(after - before - 1 for before, after in itertools.pairwise(edges))
