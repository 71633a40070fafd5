"""Relaxation of a structure with a stack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE
from ase.optimize.optimize import Optimizer
from ase.units import GPa

from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.data.writers import write_structures
from elmlff_core.simulation.drivers import check_stress
from elmlff_core.simulation.output import trajectory
from elmlff_core.stack.calculator import StackCalculator
from elmlff_core.stack.frames import observed_frame
from elmlff_core.stack.outside import outside_warning
from elmlff_core.stack.stack import Stack

OPTIMIZERS: dict[str, type[Optimizer]] = {"fire": FIRE, "bfgs": BFGS}


@dataclass(frozen=True)
class Relaxation:
    """A relaxed structure.

    Attributes
    ----------
    atoms : the last structure with what the stack predicts for it
    converged : whether the largest force is below the limit, and with the cell the largest component of stress times
        volume per atom too
    steps : number of steps
    largest_force : eV/Å, over atoms, without fixed ones
    pressure : GPa, if the stack has stress
    """

    atoms: Atoms
    converged: bool
    steps: int
    largest_force: float
    pressure: float | None


def relax(
    stack: Stack,
    structure: Atoms,
    output: Path,
    optimizer: Literal["fire", "bfgs"] = "bfgs",
    cell: bool = False,
    force: float = 0.01,
    steps: int = 500,
    path: Path | None = None,
    committee: bool = False,
    reporter: Reporter | None = None,
) -> Relaxation:
    """Relax positions, and with `cell` the cell too, and write the last structure.

    Parameters
    ----------
    stack : the stack
    structure : where the relaxation starts
    output : extxyz file for the last structure
    optimizer : ``bfgs`` or ``fire``
    cell : whether the cell relaxes
    force : eV/Å, limit of the largest force
    steps : most steps
    path : trajectory, if one is wanted; its ending is its format
    committee : whether what is written has what each base model predicts
    reporter : where progress is reported

    Raises
    ------
    ElmlffError
        The stack or a base model cannot be applied, or the cell needs a stress that there is none of.
    """
    reporter = reporter or Reporter()
    calculator = StackCalculator(stack, warn=False)  # said once, of the last structure
    atoms = structure.copy()
    atoms.set_momenta(np.zeros((len(atoms), 3)))
    atoms.calc = calculator
    if cell:
        check_stress(atoms, calculator)
    frames = None if path is None else trajectory(path)
    if frames is not None:
        frames.cut(0)
    optimization = OPTIMIZERS[optimizer](FrechetCellFilter(atoms) if cell else atoms, logfile=None)
    with reporter.progress("relaxing") as progress:
        converged = False
        for is_below in optimization.irun(fmax=force, steps=steps):
            converged = bool(is_below)
            if frames is not None:
                frames.add(observed_frame(atoms, calculator, committee))
            message = f"step {optimization.nsteps}, largest force {_largest(atoms):.4f} eV/Å"
            progress(Progress(optimization.nsteps, steps, message))
    last = observed_frame(atoms, calculator, committee)
    assert calculator.prediction is not None
    if warning := outside_warning(stack, calculator.prediction):
        reporter.warn(warning)
    write_structures([last], output)
    stress = calculator.prediction.stress
    pressure = None if stress is None else float(-stress[0, :3].mean() / GPa)
    return Relaxation(atoms, converged, optimization.nsteps, _largest(atoms), pressure)


def _largest(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())
