"""Structures that the tests of stacks share."""

from __future__ import annotations

from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT


def copper(seed: int) -> Atoms:
    """Make a rattled cell of copper, labelled by effective medium theory."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    atoms.get_forces()
    return atoms
