"""Checks of forces and stress against finite differences of the energy.

The limits follow the precision of the force field, which is measured with the same evaluations.  Energies and forces at
seven points on a line have a sixth difference that is nearly zero for a smooth function, so that what is left of it is
rounding (Moré and Wild, 2011).  The error of the formula itself is at most that of the formula of the next lower order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms

from elmlff_core.contracts.prediction import Prediction
from elmlff_core.testing.force_field_checks import ForceFieldCase
from elmlff_core.testing.report import Figure, NotApplicable
from elmlff_core.testing.structures import strained

STEPS = np.arange(-3, 4)
# Weights of the central differences of sixth and fourth order, and of the sixth difference.
SIXTH_ORDER = np.array([-1, 9, -45, 0, 45, -9, 1]) / 60
FOURTH_ORDER = np.array([0, 1, -8, 0, 8, -1, 0]) / 12
SIXTH_DIFFERENCE = np.array([1, -6, 15, -20, 15, -6, 1])
N_COMPONENTS = 8  # per structure
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))

Change = Callable[[Atoms, float], Atoms]


def forces_are_gradients(case: ForceFieldCase) -> Figure:
    """Check F = -dE/dR for some components of the first structures."""
    _require_energy(case)
    step, factor = case.tolerances.finite_difference_step, case.tolerances.finite_difference_noise_factor
    deviations, uncertainties = [], []
    for index, atoms in enumerate(case.structures[:3]):
        rows = case.rng.integers(0, len(atoms), N_COMPONENTS)
        columns = case.rng.integers(0, 3, N_COMPONENTS)
        changes = [_displacer(int(row), int(column)) for row, column in zip(rows, columns, strict=True)]
        found = _on_lines(case, atoms, changes, step)
        slopes, errors = _slopes(_energies(found, len(changes)), step, factor)
        forces = found.forces.reshape(len(changes), len(STEPS), len(atoms), 3)
        along = forces[np.arange(len(changes)), :, rows, columns]  # (n_changes, 7)
        deviations.append(np.abs(case.prediction.forces_of(index)[rows, columns] + slopes))
        uncertainties.append(errors + factor * _noise(along))
    largest = float(np.abs(case.prediction.forces).max())
    floor = case.tolerances.finite_difference
    return _figure(case, np.concatenate(deviations), np.concatenate(uncertainties), largest, floor, "eV/Å")


def stress_is_strain_derivative(case: ForceFieldCase) -> Figure:
    """Check stress = dE/dstrain / V, with sign and Voigt order of ASE, for the first fully periodic structure."""
    _require_energy(case)
    periodic = [atoms for atoms in case.structures if atoms.pbc.all()]
    found = case.predict(periodic[:1]).stress if periodic else None
    if found is None:
        raise NotApplicable("no stress is given" if periodic else "no structure is periodic in all directions")
    changes = [_strainer(row, column) for row, column in VOIGT]
    step, factor = case.tolerances.finite_difference_step / 10, case.tolerances.finite_difference_noise_factor
    lines = _on_lines(case, periodic[0], changes, step)
    slopes, errors = _slopes(_energies(lines, len(changes)), step, factor)
    stresses = np.zeros(1) if lines.stress is None else lines.stress.reshape(len(changes), len(STEPS), 6)
    noise = np.zeros(6) if lines.stress is None else _noise(stresses[np.arange(6), :, np.arange(6)])
    # A shear changes two elements of the strain at once.
    volumes = periodic[0].get_volume() * np.array([1, 1, 1, 2, 2, 2])
    uncertainty = errors / volumes + factor * noise
    largest, floor = float(np.abs(found).max()), case.tolerances.stress
    return _figure(case, np.abs(found[0] - slopes / volumes), uncertainty, largest, floor, "eV/Å³")


def _require_energy(case: ForceFieldCase) -> None:
    if case.prediction.energy is None:
        raise NotApplicable("no energies are given")


def _displacer(row: int, column: int) -> Change:
    def displaced(atoms: Atoms, amount: float) -> Atoms:
        moved = atoms.copy()
        moved.positions[row, column] += amount
        return moved

    return displaced


def _strainer(row: int, column: int) -> Change:
    return lambda atoms, amount: strained(atoms, row, column, amount)


def _on_lines(case: ForceFieldCase, atoms: Atoms, changes: Sequence[Change], step: float) -> Prediction:
    """Predict seven points on the line of each change, in one batch."""
    return case.predict([change(atoms, amount) for change in changes for amount in step * STEPS])


def _energies(found: Prediction, n_changes: int) -> np.ndarray:
    assert found.energy is not None, "energies are given for some batches and not for others"
    return found.energy.reshape(n_changes, len(STEPS))


def _noise(values: np.ndarray) -> np.ndarray:
    """Return the noise (n_lines,) of `values` (n_lines, 7): the root mean square over the lines, for each line.

    Rounding of one line may cancel by chance, that of all lines does not.  Values that change by less than their last
    digit are equal, and their sixth difference is too small: then the smallest change is the last digit.
    """
    left = (values - values[:, 3:4]) @ SIXTH_DIFFERENCE
    noise = np.sqrt(np.mean(left**2) / np.sum(SIXTH_DIFFERENCE**2))
    changes = np.abs(np.diff(values))
    if (changes == 0).any() and changes.any():
        noise = max(noise, changes[changes > 0].min() / np.sqrt(12))  # the standard deviation of rounding
    return np.full(len(values), noise)


def _slopes(energies: np.ndarray, step: float, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the slopes of `energies` (n_lines, 7), and how uncertain they are: two (n_lines,) arrays."""
    relative = energies - energies[:, 3:4]
    slopes, lower_order = relative @ SIXTH_ORDER / step, relative @ FOURTH_ORDER / step
    rounding = _noise(energies) * np.sqrt(np.sum(SIXTH_ORDER**2)) / step
    return slopes, np.abs(slopes - lower_order) + factor * rounding


def _figure(
    case: ForceFieldCase, deviations: np.ndarray, uncertainty: np.ndarray, largest: float, floor: float, unit: str
) -> Figure:
    """Return the deviation that exceeds its limit most, with its limit; arrays are (n_components,)."""
    limits = floor + case.tolerances.finite_difference_relative * largest + uncertainty
    worst = int(np.argmax(deviations / limits))
    if limits[worst] > case.tolerances.finite_difference_noise * largest and deviations[worst] < limits[worst]:
        # The usual cause is single precision of a large energy: the differences are then meaningless.
        raise NotApplicable(
            f"energies are too noisy to differentiate: slopes are uncertain by {limits[worst]:.2g} {unit}"
        )
    return Figure(float(deviations[worst]), float(limits[worst]), unit)
