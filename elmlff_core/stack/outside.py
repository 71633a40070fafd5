"""Warnings in words: which atoms of a prediction lie outside what the stack was fitted on, and why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elmlff_core.stack.stack import Stack, StackPrediction

MOST_STRUCTURES, MOST_ATOMS = 3, 4  # that are named


class OutOfDomainWarning(UserWarning):
    """Atoms lie outside what the stack was fitted on."""


def outside_warning(stack: Stack, prediction: StackPrediction) -> str | None:
    """Return a warning that names structures, atoms and base models; None if no atom is outside."""
    domain = None if stack.uncertainty is None else stack.uncertainty.domain
    if domain is None or prediction.outside is None or prediction.suspect is None:
        return None
    if not (prediction.outside > 1).any():
        return None
    offsets, described = prediction.offsets, []
    for index, n_atoms in enumerate(prediction.n_atoms):
        rows = slice(offsets[index], offsets[index] + n_atoms)
        if (prediction.outside[rows] > 1).any():
            described.append((index, _reasons(prediction.outside[rows], prediction.suspect[rows], stack.names)))
    n_all = len(prediction.n_atoms)
    if n_all == 1:
        named, subject = described[0][1], "this structure lies"
    else:
        named = "; ".join(f"structure {index}: {reasons}" for index, reasons in described[:MOST_STRUCTURES])
        named += "; ..." if len(described) > MOST_STRUCTURES else ""
        subject = f"{len(described)} of {n_all} structures {'lies' if len(described) == 1 else 'lie'}"
    return (
        f"{subject} outside what the stack was fitted on ({named}). Expect larger errors: the uncertainties are "
        f"widened. Structures like the training ones get this warning in {100 * domain.alarms:.2g} % of cases"
    )


def _reasons(score: np.ndarray, suspect: np.ndarray, names: Sequence[str]) -> str:
    """Return the atoms of one structure that are outside, grouped by the reason."""
    parts = []
    for reason in np.unique(suspect[score > 1]):
        atoms = np.flatnonzero((score > 1) & (suspect == reason))
        atoms = atoms[np.argsort(-score[atoms], kind="stable")]
        listed = ", ".join(map(str, atoms[:MOST_ATOMS])) + (", ..." if len(atoms) > MOST_ATOMS else "")
        what = "unknown surroundings" if reason < 0 else f"{names[reason]} disagrees with the other base models"
        if reason >= 0 and len(names) == 2:
            what = f"{names[0]} and {names[1]} disagree"
        parts.append(f"{what} on {'atom' if len(atoms) == 1 else 'atoms'} {listed}")
    return ", ".join(parts)
