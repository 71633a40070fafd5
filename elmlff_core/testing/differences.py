"""Checks of forces and stress against finite differences of the energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms

from elmlff_core.testing.force_field_checks import ForceFieldCase
from elmlff_core.testing.report import Figure, NotApplicable
from elmlff_core.testing.structures import strained

# Central differences D over one and two steps: in E' = (4 D(h) - D(2h)) / 3 the error of third derivatives cancels.
STEPS = (-2, -1, 1, 2)
N_COMPONENTS = 8  # per structure
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def forces_are_gradients(case: ForceFieldCase) -> Figure:
    """Check F = -dE/dR for some components of the first structures."""
    _require_energy(case)
    step = case.tolerances.finite_difference_step
    worst, noise = 0.0, 0.0
    for index, atoms in enumerate(case.structures[:3]):
        rows = case.rng.integers(0, len(atoms), N_COMPONENTS)
        columns = case.rng.integers(0, 3, N_COMPONENTS)
        changes = [_displacer(int(row), int(column)) for row, column in zip(rows, columns, strict=True)]
        slopes, errors = _slopes(case, atoms, changes, step)
        worst = max(worst, float(np.abs(case.prediction.forces_of(index)[rows, columns] + slopes).max()))
        noise = max(noise, float(errors.max()))
    largest = float(np.abs(case.prediction.forces).max())
    return _figure(case, worst, noise, largest, case.tolerances.finite_difference, "eV/Å")


def stress_is_strain_derivative(case: ForceFieldCase) -> Figure:
    """Check stress = dE/dstrain / V, with sign and Voigt order of ASE, for the first fully periodic structure."""
    _require_energy(case)
    periodic = [atoms for atoms in case.structures if atoms.pbc.all()]
    found = case.predict(periodic[:1]).stress if periodic else None
    if found is None:
        raise NotApplicable("no stress is given" if periodic else "no structure is periodic in all directions")
    changes = [_strainer(row, column) for row, column in VOIGT]
    slopes, errors = _slopes(case, periodic[0], changes, case.tolerances.finite_difference_step / 10)
    # A shear changes two elements of the strain at once.
    volumes = periodic[0].get_volume() * np.array([1, 1, 1, 2, 2, 2])
    worst = float(np.abs(found[0] - slopes / volumes).max())
    noise = float((errors / volumes).max())
    return _figure(case, worst, noise, float(np.abs(found).max()), case.tolerances.stress, "eV/Å³")


def _require_energy(case: ForceFieldCase) -> None:
    if case.prediction.energy is None:
        raise NotApplicable("no energies are given")


def _displacer(row: int, column: int) -> Callable[[Atoms, float], Atoms]:
    def displaced(atoms: Atoms, amount: float) -> Atoms:
        moved = atoms.copy()
        moved.positions[row, column] += amount
        return moved

    return displaced


def _strainer(row: int, column: int) -> Callable[[Atoms, float], Atoms]:
    return lambda atoms, amount: strained(atoms, row, column, amount)


def _slopes(
    case: ForceFieldCase, atoms: Atoms, changes: Sequence[Callable[[Atoms, float], Atoms]], step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return dE/dx of each change, and the difference between one step and two: two (n_changes,) arrays."""
    energy = case.predict([change(atoms, factor * step) for change in changes for factor in STEPS]).energy
    assert energy is not None, "energies are given for some batches and not for others"
    minus_two, minus_one, one, two = energy.reshape(-1, 4).T
    near, wide = (one - minus_one) / (2 * step), (two - minus_two) / (4 * step)
    return (4 * near - wide) / 3, np.abs(near - wide)


def _figure(case: ForceFieldCase, worst: float, noise: float, largest: float, absolute: float, unit: str) -> Figure:
    limit = absolute + case.tolerances.finite_difference_relative * largest
    if (
        worst > limit
        and noise > limit
        and worst < 5 * noise
        and noise > case.tolerances.finite_difference_noise * largest
    ):
        # The usual cause is single precision of a large energy: the differences are then meaningless.
        raise NotApplicable(f"energies are too noisy to differentiate: slopes are uncertain by {noise:.2g} {unit}")
    return Figure(worst, limit, unit)
