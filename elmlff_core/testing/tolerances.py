"""Tolerances of the conformance kit, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerances:
    """Limits of deviations.  The defaults allow the rounding errors of single precision and nothing else.

    A limit is the absolute tolerance plus the relative one times the largest magnitude in the check, because single
    precision has seven digits for numbers of any size.

    Attributes
    ----------
    energy : eV, of one structure
    forces : eV/Å, of any component
    stress : eV/Å³, of any component, against finite differences, beyond the measured precision
    energy_relative : fraction of the largest energy
    forces_relative : fraction of the largest force component
    reference_energy, reference_forces : eV and eV/Å, against reference values that the caller gives
    rotation : eV/Å; larger than `forces`, because a rotation also changes the order of sums over neighbours
    descriptors : fraction of the largest descriptor, after a rotation
    finite_difference_step : Å, of displacements; strains are a tenth of the number
    finite_difference : eV/Å, of forces against finite differences of energies, beyond the measured precision
    finite_difference_relative : fraction of the largest component of forces or stress, beyond the measured precision
    finite_difference_noise : fraction of the largest force; energies with more noise cannot be differentiated
    finite_difference_noise_factor : how many times the measured rounding of energies and forces is allowed
    """

    energy: float = 1e-4
    forces: float = 1e-4
    stress: float = 1e-6
    energy_relative: float = 1e-6
    forces_relative: float = 1e-5
    reference_energy: float = 1e-3
    reference_forces: float = 1e-3
    rotation: float = 1e-3
    descriptors: float = 1e-3
    finite_difference_step: float = 0.01
    finite_difference: float = 1e-5
    finite_difference_relative: float = 1e-5
    finite_difference_noise: float = 0.1
    finite_difference_noise_factor: float = 6.0
