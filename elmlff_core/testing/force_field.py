"""`check_force_field`: everything a base force field promises, checked on real structures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import numpy as np
from ase import Atoms

from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import BaseForceField
from elmlff_core.testing import differences
from elmlff_core.testing import force_field_checks as checks
from elmlff_core.testing.force_field_checks import ForceFieldCase
from elmlff_core.testing.report import Check, Examination, Figure, Report
from elmlff_core.testing.structures import example_structures
from elmlff_core.testing.tolerances import Tolerances

# Without shapes and finite numbers the others have nothing to look at.
ESSENTIAL: dict[str, Callable[[ForceFieldCase], Figure]] = {
    "attributes": checks.attributes,
    "shapes": checks.shapes,
    "finite": checks.finite,
}
CHECKS: dict[str, Callable[[ForceFieldCase], Figure]] = {
    "inputs": checks.inputs,
    "constraints": checks.constraints,
    "reference": checks.reference,
    "batched": checks.batched,
    "permutation": checks.permutation,
    "translation": checks.translation,
    "lattice_vectors": checks.lattice_vectors,
    "rotation": checks.rotation,
    "size_consistency": checks.size_consistency,
    "one_atom": checks.one_atom,
    "isolated_atom": checks.isolated_atom,
    "unknown_element": checks.unknown_element,
    "forces_are_gradients": differences.forces_are_gradients,
    "stress_is_strain_derivative": differences.stress_is_strain_derivative,
}
# A force field may say that it does not take such structures.
MAY_REFUSE = ("one_atom", "isolated_atom", "size_consistency")


def check_force_field(
    force_field: BaseForceField,
    structures: Sequence[Atoms] | None = None,
    *,
    reference: Prediction | None = None,
    skip: Mapping[str, str] | None = None,
    reported: Collection[str] = (),
    tolerances: Tolerances | None = None,
    seed: int = 0,
    raise_on_failure: bool = True,
) -> Report:
    """Try a base force field for real.

    Parameters
    ----------
    force_field : as an adapter's ``load`` returns it
    structures : of elements that it knows, best of different sizes; None takes `example_structures` of its elements
    reference : what it ought to say of `structures`, from another code, in eV and eV/Å: the check of units
    skip : check -> reason, for checks that do not apply
    reported : checks whose figures are told and not judged: ``["rotation"]`` for models that do not promise it
    tolerances : how far figures may be off
    seed : of rotations, permutations and displacements
    raise_on_failure : False returns the report of a failed force field too

    Returns
    -------
    Report
        Every check with its status and figure.

    Raises
    ------
    AssertionError
        Naming the checks that failed.
    """
    if structures is None:
        if reference is not None:
            raise ValueError("a reference is of given structures: pass them too")
        structures = example_structures(force_field.elements or {"Cu"})
    bare = [Atoms(a.numbers, positions=a.positions, cell=a.cell, pbc=a.pbc) for a in structures]
    case = ForceFieldCase(force_field, bare, tolerances or Tolerances(), np.random.default_rng(seed), reference)
    name = getattr(force_field, "name", type(force_field).__name__)
    examination = Examination(f"force field '{name}'", [*ESSENTIAL, *CHECKS], skip, reported)
    for title, check in ESSENTIAL.items():
        examination.run(title, partial(check, case))
    usable = not {"shapes", "finite"} & set(examination.report.failed)
    for title, check in CHECKS.items():
        if not usable:
            examination.report.checks.append(Check(title, "skipped", note="what it returns cannot be used"))
            continue
        examination.run(title, partial(check, case), may_refuse=title in MAY_REFUSE)
    if raise_on_failure:
        examination.report.raise_for_failures()
    return examination.report
