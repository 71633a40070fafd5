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
from elmlff_core.uncertainty.domain import Domain, Outside, largest_of_each

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
    kind: Literal["committee", "learnt", "seeds", "constant"]
    force: Calibration
    energy: Calibration | None
    alignment: AlignmentRecord


@dataclass(frozen=True)
class Uncertainty:
    """Calibrated uncertainty of a stack.

    The docstring of `elmlff_core.uncertainty.calibration` states when the intervals hold.  On atoms outside the domain
    the uncertainties are at least the usual ones, and grow with the distance.

    Attributes
    ----------
    kind : raw uncertainty of forces: ``committee``, ``learnt``, ``seeds`` or ``constant``
    force : calibration of the raw uncertainty of forces, eV/Å
    energy : calibration of the committee's energy spread, eV; None if stack, base models or labels lack energies
    alignment : offsets that give the base models one zero of energy
    domain : what the stack was fitted on, or None if it is not known
    """

    kind: str
    force: Calibration
    energy: Calibration | None = None
    alignment: EnergyCombination = field(default_factory=EnergyCombination, repr=False)
    domain: Domain | None = field(default=None, repr=False)

    @classmethod
    def fit(
        cls, valid: Features, prediction: Prediction, meta: Any = None, domain: Domain | None = None
    ) -> Uncertainty:
        """Calibrate on validation structures.

        Parameters
        ----------
        valid : features with reference labels, of structures on which neither base models nor meta-model were trained
        prediction : prediction of the stack for `valid`
        meta : the meta-model; its own standard deviation is used if it has one
        domain : what the stack was fitted on

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
            return cls(kind, force, domain=domain)
        energy_error = (prediction.energy - reference)[:, None]
        ones = np.ones(len(valid), dtype=np.int64)
        energy = Calibration.fit(committee_energy_spread(valid, alignment), energy_error, ones)
        return cls(kind, force, energy, alignment, domain)

    @property
    def usual_error(self) -> float:
        """Standard deviation of a force component at the median raw uncertainty, of the worst element, eV/Å."""
        return max([self.force.scale, *self.force.element_scales.values()])

    def outside(self, features: Features, forces: np.ndarray | None = None) -> Outside | None:
        """Return how far the atoms are from what the stack was fitted on; None if that is not known.

        With the `forces` (n_rows, 3) that the stack predicts, uncertainties have a ceiling (`Domain.outside`).
        """
        return None if self.domain is None else self.domain.outside(features, forces)

    def forces_std(self, features: Features, meta: Any = None, outside: Outside | None = None) -> np.ndarray:
        """Return the standard deviation of each component of the force on each atom: (n_rows,), eV/Å.

        `meta` is needed if the kind is ``learnt`` or ``seeds``; ElmlffError if it is missing or has none.
        `outside` is what the method of this name returns, computed if not given.
        """
        raw, kind = raw_forces_std(features, meta)
        if kind != self.kind:
            raise ElmlffError(
                f"uncertainties were calibrated for a {self.kind} raw uncertainty of forces, but this one is {kind}"
            )
        std = self.force.std(raw, features.atomic_numbers)
        outside = outside or self.outside(features)
        if outside is None or not outside.any:
            return std
        return widened(std, self._usual_std(features), outside.widening, outside.ceiling)

    def _usual_std(self, features: Features) -> np.ndarray:
        """Return the standard deviation of force components at the median raw uncertainty: (n_rows,), eV/Å."""
        numbers = features.atomic_numbers
        return self.force.std(np.full(len(numbers), self.force.reference), numbers)

    def forces_interval(self, features: Features, coverage: float, meta: Any = None) -> np.ndarray:
        """Return the radius around each force within which `coverage` of the true forces lie: (n_rows,), eV/Å.

        It is infinite if there were too few validation structures for this coverage.
        """
        return self.force.factor(coverage) * self.forces_std(features, meta)

    def energy_std(self, features: Features, outside: Outside | None = None) -> np.ndarray | None:
        """Return the standard deviation of the energy of each structure: (n_structures,), eV; None if not fitted.

        `outside` is as in `forces_std`; the atom that is furthest outside counts.
        """
        if self.energy is None:
            return None
        std = self.energy.std(committee_energy_spread(features, self.alignment))
        outside = outside or self.outside(features)
        if outside is None or not outside.any:
            return std
        usual = self.energy.std(np.full_like(std, self.energy.reference))
        # It grows by no larger factor than the uncertainty of a force.
        factors = np.where(outside.widening > 1.0, outside.ceiling / self._usual_std(features), 1.0)
        widening, most = (largest_of_each(values, features) for values in (outside.widening, factors))
        return widened(std, usual, widening, most * usual)

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
    def from_record(cls, record: UncertaintyRecord, domain: Domain | None = None) -> Uncertainty:
        """Make uncertainties from data that `as_record` returned, and from the domain, which has a file of its own."""
        models = tuple(record["alignment"]["models"])
        alignment = EnergyCombination()
        if models:
            offsets = np.array(record["alignment"]["offsets"])
            alignment = EnergyCombination(models, offsets, np.full(len(models), 1 / len(models)))
        return cls(record["kind"], record["force"], record["energy"], alignment, domain)


def widened(std: np.ndarray, usual: np.ndarray, widening: np.ndarray, ceiling: np.ndarray) -> np.ndarray:
    """Return standard deviations (n,) that are at least the `usual` ones, times `widening`, where that is above 1.

    Base models that agree by chance, as on stretched crystals with small forces, say nothing outside the domain.  The
    widening does not lead beyond the `ceiling` (n,); base models that disagree by more do.
    """
    least = np.maximum(std, usual)
    return np.where(widening > 1.0, np.maximum(least, np.minimum(least * widening, ceiling)), std)
