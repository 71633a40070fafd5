"""Uncertainty: how sure a stack is of its forces and energies, calibrated on validation structures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from elmlff_core.errors import ElmlffError
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.uncertainty.calibration import Calibration
from elmlff_core.uncertainty.spread import energy_spread, force_spread

if TYPE_CHECKING:
    from elmlff_core.contracts.features import Features
    from elmlff_core.contracts.prediction import Prediction

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Uncertainty:
    """Calibrated uncertainty of a stack.

    What the intervals promise, and what not, is said in `elmlff_core.uncertainty.calibration`.

    Attributes
    ----------
    kind : where the spread of forces comes from: ``committee``, ``learnt`` or ``constant``
    force : calibration of that spread, eV/Å
    energy : calibration of the bases' energy spread, eV, or None where stack, bases or labels lack energies
    alignment : offsets that bring the bases to one zero of energy
    """

    kind: str
    force: Calibration
    energy: Calibration | None = None
    alignment: EnergyCombination = field(default_factory=EnergyCombination, repr=False)

    @classmethod
    def fit(cls, valid: Features, prediction: Prediction, meta: Any = None) -> Uncertainty:
        """Calibrate on validation structures.

        Parameters
        ----------
        valid : features with reference labels, of structures that neither bases nor meta-model were trained on
        prediction : of the stack for `valid`
        meta : the meta-model, whose learnt spread is taken where it has one

        Raises
        ------
        DataError
            `valid` has no reference forces.
        ElmlffError
            `valid` is empty, or the learnt spread cannot be used.
        """
        spread, kind = force_spread(valid, meta)
        error = prediction.forces - valid.reference_forces
        force = Calibration.fit(spread, error, valid.n_atoms, valid.atomic_numbers)
        # Offsets are fitted here, as they enter as differences between bases alone.
        alignment = EnergyCombination.fit(valid)
        reference = None if valid.reference is None else valid.reference.energy
        if reference is None or prediction.energy is None or not alignment.models:
            return cls(kind, force)
        energy_error = (prediction.energy - reference)[:, None]
        ones = np.ones(len(valid), dtype=np.int64)
        energy = Calibration.fit(energy_spread(valid, alignment), energy_error, ones)
        return cls(kind, force, energy, alignment)

    def forces_std(self, features: Features, meta: Any = None) -> np.ndarray:
        """Standard deviation of each component of the force on each atom: (n_rows,), eV/Å.

        `meta` is needed where the spread is learnt; ElmlffError where it is missing or gives none.
        """
        spread, kind = force_spread(features, meta)
        if kind != self.kind:
            raise ElmlffError(f"uncertainties were calibrated on a {self.kind} spread of forces, this one is {kind}")
        return self.force.std(spread, features.atomic_numbers)

    def forces_interval(self, features: Features, coverage: float, meta: Any = None) -> np.ndarray:
        """Radius around each predicted force within which `coverage` of the true force vectors lie: (n_rows,), eV/Å.

        Infinite where there were too few validation structures for that coverage.
        """
        return self.force.factor(coverage) * self.forces_std(features, meta)

    def energy_std(self, features: Features) -> np.ndarray | None:
        """Standard deviation of the energy of each structure: (n_structures,), eV, or None where it was not fitted."""
        return None if self.energy is None else self.energy.std(energy_spread(features, self.alignment))

    def energy_interval(self, features: Features, coverage: float) -> np.ndarray | None:
        """Half-width around each predicted energy, as `forces_interval`: (n_structures,), eV, or None."""
        std = self.energy_std(features)
        return None if self.energy is None or std is None else self.energy.factor(coverage) * std

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "format_version": FORMAT_VERSION,
            "kind": self.kind,
            "units": {"force": "eV/Å", "energy": "eV"},
            "force": asdict(self.force),
            "energy": None if self.energy is None else asdict(self.energy),
            "alignment": {"models": list(self.alignment.models), "offsets": self.alignment.offsets.tolist()},
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Uncertainty:
        """The reverse of `as_record`; ElmlffError on a newer format."""
        if record["format_version"] > FORMAT_VERSION:
            raise ElmlffError(f"uncertainties of format {record['format_version']} are newer than this elmlff knows")
        models = tuple(record["alignment"]["models"])
        alignment = EnergyCombination()
        if models:
            offsets = np.array(record["alignment"]["offsets"])
            alignment = EnergyCombination(models, offsets, np.full(len(models), 1 / len(models)))
        energy = None if record["energy"] is None else _calibration(record["energy"])
        return cls(record["kind"], _calibration(record["force"]), energy, alignment)


def _calibration(record: Mapping[str, Any]) -> Calibration:
    """From JSON, whose keys are strings."""
    scales = {int(number): float(scale) for number, scale in record["element_scales"].items()}
    return Calibration(**{**record, "element_scales": scales, "quantiles": tuple(record["quantiles"])})
