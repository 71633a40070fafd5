"""DescriptorComponents: what base models know of the surroundings of atoms, in a few numbers that a network can take.

The descriptors of all base models that give them stand side by side, some hundred numbers for each atom.  Less their
mean for the element they are standardised, and their principal components are kept, each with variance one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from elmlff_core.arrays import new_array
from elmlff_core.contracts.features import Features
from elmlff_core.errors import ElmlffError

MOST_ROWS = 50_000  # atoms from which components are found; more take time and change nothing
SMALLEST = 1e-6  # of a standard deviation that is not zero


@dataclass(frozen=True)
class DescriptorComponents:
    """Principal components of descriptors; D numbers of all base models together, C components.

    Attributes
    ----------
    elements : (Z,) int64, atomic numbers, ascending
    means : (Z, D) float64, of the descriptors of each element
    axes : (D, C) float64, by which deviations from the mean are multiplied
    """

    elements: np.ndarray
    means: np.ndarray
    axes: np.ndarray

    @classmethod
    def fit(cls, train: Features, n_components: int) -> DescriptorComponents:
        """Find `n_components`, or fewer if descriptors have fewer numbers, from training structures."""
        some = train.sample(MOST_ROWS)
        rows, elements = _side_by_side(some), train.elements
        element = np.searchsorted(elements, some.atomic_numbers)
        means = np.tile(rows.mean(axis=0), (len(elements), 1))  # of an element that no sampled structure has
        for number in np.unique(element):
            means[number] = rows[element == number].mean(axis=0)
        centred = rows - means[element]
        scale = np.maximum(centred.std(axis=0), SMALLEST)
        values, vectors = np.linalg.eigh(np.cov(centred / scale, rowvar=False))
        kept = np.argsort(values)[::-1][:n_components]
        axes = vectors[:, kept] / np.sqrt(np.maximum(values[kept], SMALLEST)) / scale[:, None]
        return cls(elements, means, np.ascontiguousarray(axes))

    def of(self, features: Features) -> np.ndarray:
        """Return the components of all atoms: (n_rows, C) float32.

        Raises ElmlffError if the base models give other descriptors than in training.
        """
        found = new_array((len(features.atomic_numbers), self.axes.shape[1]), np.float32)
        for rows, block in features.blocks():
            descriptors = _side_by_side(block)
            if descriptors.shape[1] != len(self.axes):
                raise ElmlffError(
                    f"base models gave {descriptors.shape[1]} numbers to describe an atom, and {len(self.axes)} in "
                    "training: one of them has been changed"
                )
            element = np.searchsorted(self.elements, block.atomic_numbers)
            found[rows] = (descriptors - self.means[element]) @ self.axes
        return found

    def tensors(self) -> dict[str, np.ndarray]:
        """Return arrays by name, from which `from_tensors` makes equal components."""
        return {
            "components.elements": self.elements, "components.means": self.means, "components.axes": self.axes,
        }  # fmt: skip

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> DescriptorComponents | None:
        """Make components from the arrays that `tensors` returned; None if they have none."""
        if "components.axes" not in tensors:
            return None
        return cls(*(tensors[f"components.{name}"] for name in ("elements", "means", "axes")))


def _side_by_side(features: Features) -> np.ndarray:
    """Return the descriptors of all base models that give them, in their order: (n_rows, D) float64."""
    given = [features.descriptors[model] for model in features.models if model in features.descriptors]
    nothing = np.zeros((len(features.atomic_numbers), 0))
    return np.concatenate([nothing, *given], axis=1)
