"""The way from trajectories to the structures that are worth a label: errors, window, farthest points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from ase.data import chemical_symbols

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.prediction import structure_features
from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.contracts.structures import Structures
from elmlff_core.errors import ConfigError, DataError
from elmlff_core.selection.candidates import Candidates, closest_contact
from elmlff_core.selection.descriptors import Describe, components_of, describe_by, described
from elmlff_core.selection.farthest import Farthest, Points, nearest_of, usual_distance
from elmlff_core.selection.labelled import Labelled
from elmlff_core.selection.settings import SelectionSettings
from elmlff_core.selection.window import Window, why_no_information
from elmlff_core.simulation.model_deviation import model_deviation
from elmlff_core.stack.stack import Stack

Verdict = Literal["selected", "left over", "near-duplicate", "below", "above", "too close", "broken"]
VERDICTS: tuple[Verdict, ...] = ("selected", "left over", "near-duplicate", "below", "above", "too close", "broken")


@dataclass(frozen=True)
class ExpectedErrors:
    """What the stack expects of each candidate.

    Attributes
    ----------
    atoms : (n_rows,) float64, eV/Å, expected error of each atom; NaN where the stack did not look
    largest : (n,) float64, eV/Å, the largest of each structure
    deviations : (n, 7) float64, model deviation of the base models, in the order of ``model_devi.out``
    """

    atoms: np.ndarray
    largest: np.ndarray
    deviations: np.ndarray


@dataclass(frozen=True)
class Selection:
    """Result of `select`.

    Attributes
    ----------
    candidates : all structures
    errors : their expected errors
    window : the bounds
    verdicts : (n,) str, one of `VERDICTS` for each structure
    chosen : indices of the structures that were chosen, in the order of the choice
    distances : (n,) float64, distance of each structure in the window from what was labelled, and of a chosen one from
        what was known when it was chosen; NaN for the others
    like : (n,) int, index of the labelled structure that the newest atom of each near-duplicate is like; or -1
    labelled : what was labelled already, in words
    smallest_distance : below which descriptors of atoms count as the same
    """

    candidates: Candidates
    errors: ExpectedErrors
    window: Window
    verdicts: np.ndarray
    chosen: list[int]
    distances: np.ndarray
    like: np.ndarray
    labelled: str
    smallest_distance: float

    def count(self, verdict: Verdict) -> int:
        """Return the number of structures with a verdict."""
        return int((self.verdicts == verdict).sum())

    @property
    def n_in_window(self) -> int:
        """Number of structures in the window."""
        return sum(self.count(verdict) for verdict in ("selected", "left over", "near-duplicate"))


def select(
    stack: Stack,
    candidates: Candidates,
    labelled: Labelled,
    settings: SelectionSettings,
    reporter: Reporter | None = None,
) -> Selection:
    """Choose the structures that are worth a label.

    Parameters
    ----------
    stack : a stack with calibrated uncertainties
    candidates : the structures
    labelled : what is labelled already
    settings : what is chosen
    reporter : where progress is reported

    Raises
    ------
    ConfigError
        The stack has no uncertainties; the window is empty; there are no such descriptors.
    DataError
        A candidate has an element that a base model does not support.
    ForceFieldError
        A base model failed, or returned values that are not finite.
    """
    reporter = reporter or Reporter()
    if stack.uncertainty is None:
        raise ConfigError(
            "the stack has no calibrated uncertainties, without which it expects no errors: stack again by "
            "`elmlff stack`, which calibrates them on validation structures"
        )
    window = Window.of(stack.uncertainty, settings.low, settings.high)
    reporter.say(f"{window}")
    if (reason := why_no_information(stack.uncertainty)) is not None:
        reporter.warn(f"{reason}: expected errors tell only what is outside of what the stack was fitted on")
        if settings.low is None:
            reporter.say("all structures that are not broken are in the window, and the farthest points choose")
    verdicts = screened(candidates, settings.closest, reporter)
    describe = _describe(stack, candidates, verdicts == "", labelled, settings)
    errors = expected_errors(stack, candidates, np.flatnonzero(verdicts == ""), reporter)
    verdicts[(verdicts == "") & (errors.largest <= window.low)] = "below"
    verdicts[(verdicts == "") & (window.factor * errors.largest > window.high)] = "above"
    inside = np.flatnonzero(verdicts == "")
    found = Selection(
        candidates, errors, window, verdicts, [], np.full(len(candidates), np.nan), np.full(len(candidates), -1),
        labelled.source, settings.smallest_distance or 0.0,
    )  # fmt: skip
    if not len(inside):
        return found
    points, known = _points(describe, candidates.structures.subset(inside), labelled, reporter)
    return _with_farthest(found, inside, points, known, settings, reporter)


def _with_farthest(
    found: Selection, inside: np.ndarray, points: Points, known: Points, settings: SelectionSettings, reporter: Reporter
) -> Selection:
    """Choose among the structures `inside` the window, whose atoms are `points`."""
    smallest = usual_distance(known) if settings.smallest_distance is None else settings.smallest_distance
    smallest = max(smallest, points.rounding)
    starts = found.candidates.structures.starts
    rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in inside])
    uncertain = np.flatnonzero(found.errors.atoms[rows] > found.window.low)
    with reporter.progress("comparing with what is labelled") as progress:
        nearest, places = nearest_of(points, uncertain, known, lambda done, n: progress(Progress(done, n)))
    search = Farthest(points, uncertain, nearest, found.errors.largest[inside])
    verdicts, distances, like = found.verdicts.copy(), found.distances.copy(), found.like.copy()
    distances[inside] = search.distances
    old = search.distances <= smallest
    verdicts[inside] = np.where(old, "near-duplicate", "left over")
    like[inside[old]] = _like(search, places, known)[old]
    with reporter.progress("choosing farthest points") as progress:
        picked = search.choose(settings.number, smallest, lambda done, n: progress(Progress(done, n)))
    chosen = [int(inside[index]) for index, _ in picked]
    if len(picked) < settings.number:  # nothing new is left: all others are like those that were chosen
        verdicts[inside] = "near-duplicate"
    verdicts[chosen] = "selected"
    distances[chosen] = [distance for _, distance in picked]
    return replace(
        found, verdicts=verdicts, chosen=chosen, distances=distances, like=like, smallest_distance=smallest
    )  # fmt: skip


def screened(candidates: Candidates, closest: float, reporter: Reporter) -> np.ndarray:
    """Return ``broken`` or ``too close`` for structures that no force field should see, "" for others: (n,) str."""
    verdicts = np.full(len(candidates), "", dtype="U16")
    verdicts[candidates.broken] = "broken"
    with reporter.progress("looking for atoms that are too close") as progress:
        for index in np.flatnonzero(~candidates.broken).tolist():
            if np.isfinite(closest_contact(candidates.structures[index], closest)):
                verdicts[index] = "too close"
            progress(Progress(index + 1, len(candidates)))
    return verdicts


def expected_errors(stack: Stack, candidates: Candidates, sound: np.ndarray, reporter: Reporter) -> ExpectedErrors:
    """Compute the expected errors of the structures at the indices `sound` (n_sound,)."""
    structures = candidates.structures
    errors = ExpectedErrors(
        np.full(int(structures.starts[-1]), np.nan),
        np.full(len(candidates), np.nan),
        np.full((len(candidates), 7), np.nan),
    )
    if not len(sound):
        return errors
    _check_elements(stack, structures.subset(sound))
    features = structure_features(stack.base_models, structures.subset(sound), FeatureCache(), reporter)
    first = 0
    with reporter.progress("expected errors") as progress:
        for _, block in features.blocks():
            found = stack.combine(block, first)
            assert found.forces_std is not None
            for number, index in enumerate(sound[first : first + len(block)].tolist()):
                std = found.forces_std[block.offsets[number] : block.offsets[number + 1]]
                errors.atoms[structures.starts[index] : structures.starts[index + 1]] = std
                errors.largest[index] = std.max()
                errors.deviations[index] = model_deviation(block.subset([number]))
            first += len(block)
            progress(Progress(first, len(sound)))
    return errors


def _check_elements(stack: Stack, structures: Structures) -> None:
    found = {chemical_symbols[number] for number in np.unique(structures.atomic_numbers)}
    if stack.elements is not None and (unknown := sorted(found - stack.elements)):
        raise DataError(
            f"the structures contain {', '.join(unknown)}, which a base model of the stack does not support"
        )


def _describe(
    stack: Stack, candidates: Candidates, sound: np.ndarray, labelled: Labelled, settings: SelectionSettings
) -> Describe:
    """Return what describes all structures; a wrong name is refused before anything is predicted."""
    parts = [candidates.structures.subset(np.flatnonzero(sound)), labelled.structures]
    elements = np.unique(np.concatenate([part.atomic_numbers for part in parts]))
    return describe_by(settings.descriptors, stack, elements)


def _points(
    describe: Describe, structures: Structures, labelled: Labelled, reporter: Reporter
) -> tuple[Points, Points]:
    """Return the atoms of candidates and of labelled structures as points."""
    both = [structures, labelled.structures] if len(labelled.structures) else [structures]
    components = components_of(describe, Structures.of(atoms for part in both for atoms in part))
    values = []
    for part, title in zip(both, ("describing candidates", "describing labelled structures"), strict=False):
        with reporter.progress(title) as progress:
            values.append(described(describe, components, part, progress))
    candidates = Points(values[0], structures.atomic_numbers, structures.n_atoms)
    if len(both) == 1:
        return candidates, Points(values[0][:0], np.zeros(0, np.int64), np.zeros(0, np.int64))
    return candidates, Points(values[1], labelled.structures.atomic_numbers, labelled.structures.n_atoms)


def _like(search: Farthest, places: np.ndarray, known: Points) -> np.ndarray:
    """Return the labelled structure that the newest atom of each candidate is like: (n_structures,) int, or -1."""
    found = np.full(len(search.distances), -1)
    for index in range(len(found)):
        rows = np.arange(search.starts[index], search.starts[index + 1])
        place = places[rows[np.argmax(search.nearest[rows])]]
        found[index] = np.searchsorted(known.offsets, place, side="right") - 1 if place >= 0 else -1
    return found
