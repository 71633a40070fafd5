"""Structures with what a stack predicts for them, as they are written to extxyz files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from elmlff_core.contracts.features import Features
from elmlff_core.data.labels import bare
from elmlff_core.stack.calculator import StackCalculator
from elmlff_core.stack.stack import Stack, StackPrediction


def predicted_frames(structures: Sequence[Atoms], found: StackPrediction) -> Iterator[Atoms]:
    """Yield bare copies of `structures` with the predictions of a stack for them.

    ASE's calculator of each has forces (eV/Å), and energy (eV) and stress (eV/Å³) if the stack gives them.  As far as
    they are known, ``arrays`` have ``forces_uncertainty``, the standard deviation of force components (eV/Å), and
    ``outside``, and ``info`` has ``energy_uncertainty`` (eV).
    """
    offsets = found.offsets
    for index, atoms in enumerate(structures):
        rows = slice(offsets[index], offsets[index + 1])
        frame = bare(atoms)
        frame.calc = SinglePointCalculator(frame, **found.results_of(index))
        if found.forces_std is not None:
            frame.arrays["forces_uncertainty"] = found.forces_std[rows]
        if found.energy_std is not None:
            frame.info["energy_uncertainty"] = float(found.energy_std[index])
        if found.outside is not None:
            frame.arrays["outside"] = found.outside[rows]
        yield frame


def observed_frame(atoms: Atoms, calculator: StackCalculator, committee: bool = False) -> Atoms:
    """Return a bare copy of `atoms` with what the stack of `calculator` predicts for it, computed if it is not known.

    With `committee` it has what the base models predict too, as by `add_committee`.
    """
    calculator.get_property("forces", atoms)
    assert calculator.features is not None
    assert calculator.prediction is not None
    frames = list(predicted_frames([atoms], calculator.prediction))
    if committee:
        add_committee(frames, calculator.stack, calculator.features)
    return frames[0]


def add_committee(frames: Sequence[Atoms], stack: Stack, features: Features) -> None:
    """Add what each base model predicts to `frames`, under the names of MACE and matscipy.

    ``arrays`` get ``forces_comm`` (n_atoms, 3 M), eV/Å, the three components of the first base model first, and
    ``info``, if all base models give energies, ``energy_comm`` (M,), eV, with their zeros aligned to that of the stack,
    and ``energy_var``, eV².
    """
    aligned = committee_energies(stack, features)
    for index, frame in enumerate(frames):
        rows = slice(features.offsets[index], features.offsets[index + 1])
        frame.arrays["forces_comm"] = np.concatenate(features.forces[:, rows], axis=1)
        if aligned is not None:
            frame.info["energy_comm"] = aligned[:, index]
            frame.info["energy_var"] = float(aligned[:, index].var())


def committee_energies(stack: Stack, features: Features) -> np.ndarray | None:
    """Return the energies of the base models, with their zeros aligned to that of the stack: (M, n_structures), eV.

    None if a base model gives no energies, or they were not aligned.
    """
    if not features.models or not set(features.models) <= set(stack.alignment.models):
        return None
    return stack.alignment.of_models(features.models).aligned(features)
