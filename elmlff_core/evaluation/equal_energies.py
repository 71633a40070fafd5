"""Stacks and baselines that report the same energy, in words: their equal energy errors are no coincidence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from elmlff_core.evaluation.model_errors import ENERGY_TITLES, ModelErrors


def equal_energies(errors: Sequence[ModelErrors]) -> str:
    """Explain the equal energy errors of stacks and baselines; "" if there are none.

    A meta-model that learns only forces reports as its energy the linear combination of the aligned energies of the
    base models (`elmlff_core.features.energies`), as the baseline of that name does, therefore all of them have the
    same errors.  The mean of the base models, and meta-models that learn or use energies, have others.
    """
    groups: list[list[ModelErrors]] = []
    for model in errors:
        if model.kind == "base model" or not _energy_errors(model):
            continue
        group = next((group for group in groups if _equal(group[0], model)), None)
        if group is None:
            groups.append([model])
        else:
            group.append(model)
    shared = next((group for group in groups if any(model.meta == "linear" for model in group)), [])
    if len(shared) < 2:
        return ""
    names = ", ".join(model.name for model in shared)
    # Others may be equal too: a mean in which one member alone has a weight, or alone learns an energy.
    own = ", ".join(group[0].name for group in groups if group is not shared)
    return (
        f"The energy errors of {names} are equal because their energy is the same, the linear combination of the "
        "aligned energies of the base models. They learn forces, which are not the gradient of this energy, so that "
        "the error is one of the base models together and does not tell these stacks apart."
        + (f" With an energy of its own: {own}." if own else "")
    )


def _energy_errors(model: ModelErrors) -> list[float]:
    """Return all energy errors, of every split in order."""
    return [found[metric] for _, found in sorted(model.errors.items()) for metric in ENERGY_TITLES if metric in found]


def _equal(first: ModelErrors, second: ModelErrors) -> bool:
    pairs = zip(_energy_errors(first), _energy_errors(second), strict=False)
    return all(math.isclose(one, other, rel_tol=1e-6) for one, other in pairs)
