"""Units of labels, by base models: their predictions are in eV, eV/Å and eV/Å³, so labels in other units stand out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features
from elmlff_core.data.units import (
    ENERGY_UNITS,
    FORCE_UNITS,
    REMEDY,
    STRESS_UNITS,
    Slope,
    energies_fit_forces,
    is_likelier,
    matching_units,
)
from elmlff_core.errors import DataError
from elmlff_core.features.energies import composition
from elmlff_core.features.metrics import labelled_stresses

# Below this correlation a base model says nothing about units: it is for other systems, or its checkpoint is bad.
LEAST_CORRELATION = 0.85
# Pretrained models are often too soft, by up to a third; the units differ by more.
SAME_UNIT = 1.35
# A correlated base model of this size of forces, in either direction, shows that the labels are in its units.
RIGHT = 2.5
N_STRUCTURES, LEAST_STRUCTURES = 500, 10
RIGHT_STRESS = "eV/Å³"


def check_units_by_models(features: Features, remedy: str = REMEDY) -> None:
    """Refuse labels in other units, by models that were *not* trained on these labels.

    Parameters
    ----------
    features : predictions of the models, with labels
    remedy : for the message, what to do

    Raises
    ------
    DataError
        The base model that is best correlated with the labels predicts larger or smaller numbers, by the size of one of
        the usual units, no base model finds the labels right, and nor do the labels themselves; the message names the
        unit.  Or their stresses have the opposite sign.
    """
    chosen = np.unique(np.linspace(0, len(features) - 1, min(len(features), N_STRUCTURES)).round().astype(np.int64))
    few = features.subset(chosen)
    forces, energies = force_slopes(few), energy_slopes(few)
    # A base model says nothing about energies if its forces have nothing to do with the labels.
    energies = {name: slope for name, slope in energies.items() if name in forces and _is_right(forces[name])}
    for quantity, known, slopes in (("force", FORCE_UNITS, forces), ("energy", ENERGY_UNITS, energies)):
        if (found := _other_unit(slopes, known)) is not None and _labels_agree(features, quantity, known[found[1][0]]):
            name, units = found
            slope = slopes[name]
            raise DataError(
                f"the {quantity} labels of {features.source} seem to be in {' or '.join(units)}: what {name} predicts "
                f"is {slope.slope:.3g} times as large (correlation {slope.correlation:.3f} over {slope.n} structures). "
                f"{remedy}"
            )
    _check_stresses(few, forces, remedy)


def _check_stresses(features: Features, forces: Mapping[str, Slope], remedy: str) -> None:
    """Refuse stress labels in other units or of the opposite sign, by base models that find the forces right."""
    known = stress_slopes(features)
    slopes = {name: known[name] for name in known if name in forces and _is_right(forces[name])}
    if not slopes or any(_is_right(slope) for slope in slopes.values()):
        return
    name = max(slopes, key=lambda name: abs(slopes[name].correlation))
    size, correlation, n = slopes[name].slope, slopes[name].correlation, slopes[name].n
    units = matching_units({RIGHT_STRESS: 1.0, **STRESS_UNITS}, size, RIGHT)
    if abs(correlation) < LEAST_CORRELATION or not units:
        return
    wrong = [] if RIGHT_STRESS in units else [f"to be in {' or '.join(units)}"]
    wrong += ["to have the opposite sign (stretched crystals have positive stresses)"] if correlation < 0 else []
    raise DataError(
        f"the stress labels of {features.source} seem {' and '.join(wrong)}: what {name} predicts changes "
        f"{size:.3g} times as much between structures (correlation {correlation:.3f} over {n} structures). {remedy}"
    )


def _labels_agree(features: Features, quantity: str, size: float) -> bool:
    """Return whether the labels themselves could be in a unit of `size`: bad base models have forces of any size."""
    energy = None if features.reference is None else features.reference.energy
    labels = Dataset(features.structures, features.reference_forces, energy, source=features.source)
    return is_likelier(labels, size) if quantity == "force" else not energies_fit_forces(labels)


def _is_right(slope: Slope) -> bool:
    return slope.correlation > LEAST_CORRELATION and 1 / RIGHT < slope.slope < RIGHT


def _other_unit(slopes: Mapping[str, Slope], known: Mapping[str, float]) -> tuple[str, list[str]] | None:
    """Return the base model with the highest correlation, and the units in which the labels may be by it.

    None if it names no unit, or if any base model finds the labels right.
    """
    if not slopes or any(_is_right(slope) for slope in slopes.values()):
        return None
    best = max(slopes, key=lambda name: slopes[name].correlation)
    units = matching_units(known, slopes[best].slope, SAME_UNIT)
    return (best, units) if units and slopes[best].correlation > LEAST_CORRELATION else None


def force_slopes(features: Features) -> dict[str, Slope]:
    """Return for each base model how large its forces are compared with the labels, and their correlation."""
    predicted = {name: features.base_prediction(name).forces for name in features.models}
    return _slopes(predicted, features.reference_forces, len(features))


def energy_slopes(features: Features) -> dict[str, Slope]:
    """Return for each base model how large its energies are compared with the labels, relative to a sum over elements.

    Empty if there are no labels or no energies.
    """
    reference = None if features.reference is None else features.reference.energy
    if reference is None or len(features) < LEAST_STRUCTURES:
        return {}
    counts, _ = composition(features)

    def relative(energies: np.ndarray) -> np.ndarray:
        return np.asarray(energies - counts @ np.linalg.lstsq(counts, energies, rcond=None)[0])

    found = {name: relative(energies) for name, energies in features.energies.items()}
    return _slopes(found, relative(reference), len(features))


def stress_slopes(features: Features) -> dict[str, Slope]:
    """Return for each base model how much its stresses change between structures, compared with the labels.

    The means over structures are left out: a base model with another equilibrium volume may have them of any sign.
    """
    labelled = labelled_stresses(features)
    if len(labelled) < LEAST_STRUCTURES:
        return {}
    assert features.reference is not None
    assert features.reference.stress is not None
    found = {name: stress[labelled] - stress[labelled].mean(axis=0) for name, stress in features.stresses.items()}
    label = features.reference.stress[labelled]
    return _slopes(found, label - label.mean(axis=0), len(labelled))


def _slopes(predicted: Mapping[str, np.ndarray], labels: np.ndarray, n: int) -> dict[str, Slope]:
    """Return ratios of the root mean squares, which unlike a regression do not shrink with the errors of a model."""
    found = {}
    size = np.linalg.norm(labels)
    for name, values in predicted.items():
        own = np.linalg.norm(values)
        if own > 0 and size > 0:
            found[name] = Slope(float(own / size), float((values * labels).sum() / (own * size)), n)
    return found
