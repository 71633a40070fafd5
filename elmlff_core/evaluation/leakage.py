"""Leakage: base models that were trained on test structures, so that test errors with them are too low.

Of a base model that elmlff has trained, the structures of the training are known.  Of another one only its errors tell:
on structures of its training they are lower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms

from elmlff_core.contracts.features import Features
from elmlff_core.data.content import SeenStructures
from elmlff_core.features.metrics import mean_rmse_per_frame, rmse_of_frames

FAR_BELOW = 0.67  # ratio of the medians of the errors; splits of the same data differ less
SIGNIFICANT = 0.01  # probability that such a difference is chance


def leakage_notes(features: Mapping[str, Features], seen: Mapping[str, SeenStructures | None]) -> list[str]:
    """Return notes on base models that were, or may have been, trained on test structures.

    Parameters
    ----------
    features : features of ``test`` and, if there are any, ``valid`` structures, with labels
    seen : name of a base model -> the structures of its training; None if they are not known
    """
    notes, unknown = [], []
    test, valid = features["test"], features.get("valid")
    for name, structures in seen.items():
        if structures is not None:
            notes += _known(name, structures, test.structures)
        elif valid is not None and is_far_lower(name, test, valid):
            errors = [mean_rmse_per_frame(split.base_prediction(name).forces, split) for split in (test, valid)]
            notes.append(
                f"The error of the base model {name} is {errors[0]:.4f} eV/Å on test structures, far below its "
                f"{errors[1]:.4f} on validation structures: it may have been trained on the test structures. Test "
                "errors of a stack with it are then too low."
            )
        else:
            unknown.append(name)
    if unknown:
        verb = "was" if len(unknown) == 1 else "were"
        notes.append(
            f"Whether {' or '.join(unknown)} {verb} trained on test structures cannot "
            "be known, as there is no record of the training. Test errors are too low if so."
        )
    return notes


def _known(name: str, seen: SeenStructures, test: Sequence[Atoms]) -> list[str]:
    n_seen = len(test) - len(seen.splits(test)["test"])
    if not n_seen:
        return []
    return [
        f"The base model {name} was trained on {n_seen} of the {len(test)} test structures: its test error, and that "
        "of a stack with it, is too low."
    ]


def is_far_lower(name: str, test: Features, valid: Features) -> bool:
    """Return whether the errors of a base model per test structure are far below those per validation structure.

    Errors are relative to the size of the forces of a structure, because test structures may be calmer ones.
    """
    from scipy.stats import mannwhitneyu  # slow to import

    relative = []
    for features in (test, valid):
        reference = features.reference_forces
        errors = rmse_of_frames(features.base_prediction(name).forces, reference, features.n_atoms)
        sizes = rmse_of_frames(np.zeros_like(reference), reference, features.n_atoms)
        relative.append(errors[sizes > 0] / sizes[sizes > 0])
    if not all(len(errors) for errors in relative) or np.median(relative[0]) >= FAR_BELOW * np.median(relative[1]):
        return False
    return bool(mannwhitneyu(*relative, alternative="less").pvalue < SIGNIFICANT)
