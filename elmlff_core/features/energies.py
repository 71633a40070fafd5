"""Energies of a stack: the linear combination of the aligned energies of the base models.

Force fields of different families have different zeros of energy.  Each base model is first *aligned*: per-element
offsets, fitted by least squares to the reference, are added to its energies.  A stack that learns only forces reports
as its energy the combination of the aligned energies, with weights that sum to one.  The forces of such a stack are not
the gradient of this energy.  Its stress is the derivative of this energy by the strain of the cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from elmlff_core.arrays import blocks
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction

N_NUMBERS = 119


def composition(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Count the atoms of each element: (n_structures, n_elements) float64, and the atomic numbers of the elements."""
    elements, n_atoms = features.elements, features.n_atoms
    counts = np.empty((len(features), len(elements)))
    for structures, rows in blocks(n_atoms):
        starts = np.cumsum(n_atoms[structures]) - n_atoms[structures]
        is_element = features.atomic_numbers[rows, None] == elements
        counts[structures] = np.add.reduceat(is_element, starts, dtype=np.float64)
    return counts, elements


def minimum_variance_weights(covariance: np.ndarray) -> np.ndarray:
    """Return the weights, with sum one, of the combination with the smallest mean squared error: (n_models,).

    They are the inverse covariance matrix applied to a vector of ones, normalised (Bates and Granger, 1969).

    Parameters
    ----------
    covariance : (n_models, n_models) float64, mean products of the errors of two base models
    """
    n_models = len(covariance)
    # Base models with nearly equal errors would get huge weights of opposite sign; a small ridge prevents this.
    ridge = (1e-6 * np.trace(covariance) / n_models + 1e-24) * np.eye(n_models)
    weights = np.linalg.solve(covariance + ridge, np.ones(n_models))
    return np.asarray(weights / weights.sum())


def base_stresses(features: Features, models: Sequence[str]) -> np.ndarray | None:
    """Return the stresses that `models` predict: (n_structures, n_models, 6), eV/Å³.

    None if one of them gives no stress, or a structure is not periodic in all directions: it has no volume.
    """
    if any(name not in features.stresses for name in models):
        return None
    if not all(atoms.pbc.all() for atoms in features.structures):
        return None
    return np.stack([features.stresses[name] for name in models], axis=1)


@dataclass(frozen=True)
class EnergyCombination:
    """Offsets and weights of the base models that give energies.

    It is empty if no base model gives energies or the reference has none.

    Attributes
    ----------
    models : names of the base models that give energies
    offsets : (n_models, 119) float64, eV per atom of each element, added to the energy of the base model
    weights : (n_models,) float64, sum one
    """

    models: tuple[str, ...] = ()
    offsets: np.ndarray = field(default_factory=lambda: np.zeros((0, N_NUMBERS)))
    weights: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def fit(cls, features: Features) -> EnergyCombination:
        """Align each base model to the reference energies, then fit weights with sum one by least squares."""
        reference = None if features.reference is None else features.reference.energy
        models = tuple(name for name in features.models if name in features.energies)
        if reference is None or not models:
            return cls()
        counts, elements = composition(features)
        energies = np.stack([features.energies[name] for name in models])  # (M, S)
        offsets = np.zeros((len(models), N_NUMBERS))
        offsets[:, elements] = np.linalg.lstsq(counts, (reference - energies).T, rcond=None)[0].T
        errors = energies + offsets[:, elements] @ counts.T - reference  # (M, S)
        return cls(models, offsets, minimum_variance_weights(errors @ errors.T / errors.shape[1]))

    def of_models(self, models: Sequence[str]) -> EnergyCombination:
        """Return the alignment, with the weights, of some of its base models alone."""
        chosen = [self.models.index(name) for name in models]
        return EnergyCombination(tuple(models), self.offsets[chosen], self.weights[chosen])

    def apply(self, features: Features) -> np.ndarray | None:
        """Return the combined energies: (n_structures,), eV, or None if no base model gives energies."""
        if not self.models:
            return None
        return np.asarray(self.weights @ self.aligned(features))

    def aligned(self, features: Features) -> np.ndarray:
        """Return the energies of the base models relative to one common zero: (n_models, n_structures), eV."""
        energies = np.stack([features.energies[name] for name in self.models])
        counts, elements = composition(features)
        return np.asarray(energies + self.offsets[:, elements] @ counts.T)

    def stress(self, features: Features) -> np.ndarray | None:
        """Return the stress that belongs to the combined energies: (n_structures, 6), eV/Å³, or None.

        The offsets do not change with the cell, so it is the weighted sum of the base stresses.  There is none if a
        base model of the combination gives no stress, or a structure is not periodic in all directions.
        """
        stresses = base_stresses(features, self.models) if self.models else None
        return None if stresses is None else np.asarray(np.einsum("m,sma->sa", self.weights, stresses))

    def aligned_prediction(self, name: str, features: Features) -> Prediction:
        """Return what base model `name` predicts, with aligned energies, or without energies if it was not aligned."""
        found = features.base_prediction(name)
        if name not in self.models or found.energy is None:
            return replace(found, energy=None)
        counts, elements = composition(features)
        return replace(found, energy=found.energy + counts @ self.offsets[self.models.index(name), elements])

    def tensors(self) -> dict[str, np.ndarray]:
        """Return arrays by name, from which `from_tensors` makes an equal combination."""
        if not self.models:
            return {}
        names = np.frombuffer("\n".join(self.models).encode(), dtype=np.uint8).copy()
        return {"energy.models": names, "energy.offsets": self.offsets, "energy.weights": self.weights}

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray]) -> EnergyCombination:
        """Make a combination from the arrays that `tensors` returned."""
        if "energy.models" not in tensors:
            return cls()
        names = tuple(bytes(tensors["energy.models"]).decode().split("\n"))
        return cls(names, tensors["energy.offsets"], tensors["energy.weights"])
