"""DescriptorComponents: what base models know of the surroundings of atoms, in a few numbers that a network can take.

The descriptors of all base models that give them stand side by side, some hundred numbers for each atom.  Less their
mean for the element they are standardised, and their principal components are kept, each with variance one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from elmlff_core.arrays import new_array
from elmlff_core.contracts.features import Features
from elmlff_core.errors import ElmlffError

PREFIX = "components."
MOST_ROWS = 50_000  # atoms from which axes are found; more take time and change nothing
SMALLEST = 1e-6  # of a variance, beside the largest one, that is more than rounding


@dataclass(frozen=True)
class DescriptorComponents:
    """Principal components of descriptors; D numbers of all base models together, C components.

    Attributes
    ----------
    elements : (Z,) int64, atomic numbers, ascending
    means : (Z, D) float64, of the descriptors of each element
    axes : (D, C) float64, by which deviations from the mean are multiplied
    limits : (C,) float64, the largest magnitude in training: an atom that is unlike all others has no larger ones
    """

    elements: np.ndarray
    means: np.ndarray
    axes: np.ndarray
    limits: np.ndarray

    @classmethod
    def fit(cls, train: Features, n_components: int) -> DescriptorComponents:
        """Find `n_components`, or fewer if there are no more that vary, from training structures."""
        elements, means = train.elements, _means(train)
        some = train.sample(MOST_ROWS)
        products = np.zeros((means.shape[1], means.shape[1]))
        for _, block in some.blocks():
            centred = _side_by_side(block) - means[np.searchsorted(elements, block.atomic_numbers)]
            products += centred.T @ centred / len(some.atomic_numbers)
        variances = products.diagonal()
        varies = variances > SMALLEST**2 * variances.max(initial=0.0)
        scale = np.where(varies, 1 / np.sqrt(np.where(varies, variances, 1.0)), 0.0)
        values, vectors = np.linalg.eigh(products * scale * scale[:, None])
        kept = np.flatnonzero(values > SMALLEST * values.max(initial=0.0))[::-1][:n_components]
        axes = np.ascontiguousarray(scale[:, None] * vectors[:, kept] / np.sqrt(values[kept]))
        if len(axes):  # signs are free, and must not depend on the machine that resumes a training
            axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(kept))])
        found = cls(elements, means, axes, np.full(len(kept), np.inf))
        return replace(found, limits=np.abs(found.of(some)).max(axis=0).astype(np.float64))

    def of(self, features: Features) -> np.ndarray:
        """Return the components of all atoms: (n_rows, C) float32.

        Raises ElmlffError if the base models give other descriptors than in training.
        """
        found = new_array((len(features.atomic_numbers), self.axes.shape[1]), np.float32)
        for rows, block in features.blocks():
            descriptors = _side_by_side(block)
            if descriptors.shape[1] != len(self.axes):
                given = ", ".join(f"{one.shape[1]} of {name}" for name, one in features.descriptors.items()) or "none"
                raise ElmlffError(
                    f"the network has learnt from {len(self.axes)} numbers that describe an atom, and gets {given}: "
                    "a base model has changed"
                )
            centred = descriptors - self.means[np.searchsorted(self.elements, block.atomic_numbers)]
            found[rows] = np.clip(centred @ self.axes, -self.limits, self.limits)
        return found

    def tensors(self) -> dict[str, np.ndarray]:
        """Return arrays by name, from which `from_tensors` makes equal components."""
        return {f"{PREFIX}{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> DescriptorComponents | None:
        """Make components from the arrays that `tensors` returned; None if they have none."""
        if f"{PREFIX}axes" not in tensors:
            return None
        return cls(**{field.name: tensors[f"{PREFIX}{field.name}"] for field in fields(cls)})


def _side_by_side(features: Features) -> np.ndarray:
    """Return the descriptors of all base models that give them, in their order: (n_rows, D) float64."""
    given = [features.descriptors[model] for model in features.models if model in features.descriptors]
    nothing = np.zeros((len(features.atomic_numbers), 0))
    return np.concatenate([nothing, *given], axis=1)


def _means(features: Features) -> np.ndarray:
    """Return the mean of the descriptors of each element: (Z, D) float64."""
    counts = np.bincount(np.searchsorted(features.elements, features.atomic_numbers))
    sums = np.zeros((len(counts), sum(one.shape[1] for one in features.descriptors.values())))
    for _, block in features.blocks():
        rows, element = _side_by_side(block), np.searchsorted(features.elements, block.atomic_numbers)
        for number in np.unique(element):
            sums[number] += rows[element == number].sum(axis=0)
    return np.asarray(sums / counts[:, None])
