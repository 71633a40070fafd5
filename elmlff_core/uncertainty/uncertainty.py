"""Uncertainty: calibrated uncertainties of the forces and energies of a stack."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import numpy as np
from annotated_types import Len

from elmlff_core.errors import ElmlffError
from elmlff_core.features.energies import N_NUMBERS, EnergyCombination
from elmlff_core.uncertainty.calibration import Calibration
from elmlff_core.uncertainty.committee import committee_energy_spread, raw_forces_std

if TYPE_CHECKING:
    from elmlff_core.contracts.features import Features
    from elmlff_core.contracts.prediction import Prediction

FORMAT_VERSION = 1


class AlignmentRecord(TypedDict):
    """Names of base models, and their offsets: one number for each of the 119 elements."""

    models: list[str]
    offsets: list[Annotated[list[float], Len(N_NUMBERS, N_NUMBERS)]]


class UncertaintyRecord(TypedDict):
    """What ``uncertainty.json`` holds."""

    format_version: int
    kind: Literal["committee", "learnt", "constant"]
    force: Calibration
    energy: Calibration | None
    alignment: AlignmentRecord


@dataclass(frozen=True)
class Uncertainty:
    """Calibrated uncertainty of a stack.

    The docstring of `elmlff_core.uncertainty.calibration` states when the intervals hold.

    Attributes
    ----------
    kind : raw uncertainty of forces: ``committee``, ``learnt`` or ``constant``
    force : calibration of the raw uncertainty of forces, eV/Å
    energy : calibration of the committee's energy spread, eV; None if stack, base models or labels lack energies
    alignment : offsets that give the base models one zero of energy
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
        valid : features with reference labels, of structures on which neither base models nor meta-model were trained
        prediction : prediction of the stack for `valid`
        meta : the meta-model; its learnt standard deviation is used if it has one

        Raises
        ------
        DataError
            `valid` has no reference forces.
        ElmlffError
            `valid` is empty, or the learnt standard deviation cannot be used.
        """
        raw, kind = raw_forces_std(valid, meta)
        error = prediction.forces - valid.reference_forces
        force = Calibration.fit(raw, error, valid.n_atoms, valid.atomic_numbers)
        # Offsets may be fitted to validation data, because only their differences between base models are used.
        alignment = EnergyCombination.fit(valid)
        reference = None if valid.reference is None else valid.reference.energy
        if reference is None or prediction.energy is None or not alignment.models:
            return cls(kind, force)
        energy_error = (prediction.energy - reference)[:, None]
        ones = np.ones(len(valid), dtype=np.int64)
        energy = Calibration.fit(committee_energy_spread(valid, alignment), energy_error, ones)
        return cls(kind, force, energy, alignment)

    def forces_std(self, features: Features, meta: Any = None) -> np.ndarray:
        """Return the standard deviation of each component of the force on each atom: (n_rows,), eV/Å.

        `meta` is needed if the kind is ``learnt``; ElmlffError if it is missing or gives no standard deviation.
        """
        raw, kind = raw_forces_std(features, meta)
        if kind != self.kind:
            raise ElmlffError(
                f"uncertainties were calibrated for a {self.kind} raw uncertainty of forces, but this one is {kind}"
            )
        return self.force.std(raw, features.atomic_numbers)

    def forces_interval(self, features: Features, coverage: float, meta: Any = None) -> np.ndarray:
        """Return the radius around each force within which `coverage` of the true forces lie: (n_rows,), eV/Å.

        It is infinite if there were too few validation structures for this coverage.
        """
        return self.force.factor(coverage) * self.forces_std(features, meta)

    def energy_std(self, features: Features) -> np.ndarray | None:
        """Return the standard deviation of the energy of each structure: (n_structures,), eV; None if not fitted."""
        return None if self.energy is None else self.energy.std(committee_energy_spread(features, self.alignment))

    def energy_interval(self, features: Features, coverage: float) -> np.ndarray | None:
        """Return the half-width of the interval around each energy: (n_structures,), eV, or None.

        It is infinite in the same case as in `forces_interval`.
        """
        std = self.energy_std(features)
        return None if self.energy is None or std is None else self.energy.factor(coverage) * std

    def as_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "format_version": FORMAT_VERSION,
            "kind": self.kind,
            "units": {"force": "eV/Å", "energy": "eV"},
            "force": asdict(self.force),
            "energy": None if self.energy is None else asdict(self.energy),
            "alignment": {"models": list(self.alignment.models), "offsets": self.alignment.offsets.tolist()},
        }

    @classmethod
    def from_record(cls, record: UncertaintyRecord) -> Uncertainty:
        """Make uncertainties from data that `as_record` returned."""
        models = tuple(record["alignment"]["models"])
        alignment = EnergyCombination()
        if models:
            offsets = np.array(record["alignment"]["offsets"])
            alignment = EnergyCombination(models, offsets, np.full(len(models), 1 / len(models)))
        return cls(record["kind"], record["force"], record["energy"], alignment)
