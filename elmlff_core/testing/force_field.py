"""`check_force_field`: check the contract of a base force field on structures."""

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

# If one of these checks fails, the others cannot be run.
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
    "descriptors": checks.descriptors,
    "size_consistency": checks.size_consistency,
    "one_atom": checks.one_atom,
    "isolated_atom": checks.isolated_atom,
    "unknown_element": checks.unknown_element,
    "forces_are_gradients": differences.forces_are_gradients,
    "stress_is_strain_derivative": differences.stress_is_strain_derivative,
}
# A force field may refuse such structures with an error.
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
    """Check a base force field by running it.

    Parameters
    ----------
    force_field : force field, as returned by ``load`` of an adapter
    structures : structures of elements that it knows, best of different sizes; None takes `example_structures`
    reference : correct prediction for `structures`, from another code, in eV and eV/Å; this checks the units
    skip : check -> reason, for checks that do not apply
    reported : checks whose values are reported but cannot fail, such as ``["rotation"]`` for a model that is not
        equivariant
    tolerances : limits of deviations
    seed : seed of rotations, permutations and displacements
    raise_on_failure : False returns the report of a failed force field too

    Returns
    -------
    Report
        Every check with its status and measured value.

    Raises
    ------
    AssertionError
        A check failed; the message names every failed check.
    """
    if structures is None:
        if reference is not None:
            raise ValueError("a reference was given without its structures: pass them too")
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
