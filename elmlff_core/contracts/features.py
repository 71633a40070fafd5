"""Features: the predictions of the base models for some structures, with the reference labels where there are any."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from ase import Atoms

from elmlff_core.arrays import BLOCK_ROWS, blocks, new_array, picked_rows, row_offsets, rows_of
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.structures import atomic_numbers_of, n_atoms_of, subset_of
from elmlff_core.errors import DataError, ElmlffError


@dataclass(frozen=True)
class Features:
    """Predictions of base models for structures; per-atom rows are concatenated in the order of the structures.

    Arrays may be larger than memory (see `elmlff_core.arrays`), so code that processes many structures uses `blocks`.

    Attributes
    ----------
    structures : the structures
    models : names of the base models
    forces : (n_models, n_rows, 3) float64, eV/Å; n_rows is the total number of atoms
    energies : model -> (n_structures,) float64, eV, for base models that predict energies; their zeros of energy differ
    reference : labels, with energy and stress where given, or None if the structures have no labels; the stress of a
        structure without this label is NaN
    source : where the structures came from, for messages
    stresses : model -> (n_structures, 6) float64, eV/Å³, ASE's Voigt order and sign, where base models predict them
    descriptors : model -> (n_rows, n_numbers) float32, of base models that describe atoms, as `Prediction.descriptors`
    """

    structures: Sequence[Atoms]
    models: tuple[str, ...]
    forces: np.ndarray = field(repr=False)
    energies: Mapping[str, np.ndarray] = field(repr=False)
    reference: Prediction | None = field(default=None, repr=False)
    source: str = ""
    stresses: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    descriptors: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @classmethod
    def from_predictions(
        cls, structures: Sequence[Atoms], predictions: Mapping[str, Prediction], dataset: Dataset | None = None
    ) -> Features:
        """Join one prediction per model; `dataset` gives the labels of the same structures, which are not copied."""
        forces = new_array((len(predictions), int(n_atoms_of(structures).sum()), 3))
        for row, prediction in zip(forces, predictions.values(), strict=True):
            row[:] = prediction.forces
        return cls(
            structures=structures,
            models=tuple(predictions),
            forces=forces,
            energies={name: one.energy for name, one in predictions.items() if one.energy is not None},
            reference=None if dataset is None else dataset.labels,
            source="" if dataset is None else dataset.source,
            stresses={name: one.stress for name, one in predictions.items() if one.stress is not None},
            descriptors={name: one.descriptors for name, one in predictions.items() if one.descriptors is not None},
        )

    def __len__(self) -> int:
        return len(self.structures)

    @cached_property
    def n_atoms(self) -> np.ndarray:
        """Number of atoms of each structure: (n_structures,) int."""
        return n_atoms_of(self.structures)

    @cached_property
    def atomic_numbers(self) -> np.ndarray:
        """Atomic number of each atom: (n_rows,) int64."""
        return atomic_numbers_of(self.structures)

    @cached_property
    def elements(self) -> np.ndarray:
        """Atomic numbers of all elements in the structures: (n_elements,) int, ascending."""
        return np.flatnonzero(np.bincount(self.atomic_numbers))

    @property
    def reference_forces(self) -> np.ndarray:
        """Reference forces: (n_rows, 3), eV/Å; raises DataError if the structures have no labels."""
        if self.reference is None:
            raise DataError("these structures have no reference forces")
        return self.reference.forces

    def check_elements(self, known: np.ndarray | Sequence[int]) -> None:
        """Raise ElmlffError on an element whose atomic number is not in `known`, the elements of the training data."""
        if unknown := sorted(set(self.elements.tolist()).difference(np.asarray(known).tolist())):
            raise ElmlffError(f"elements with atomic numbers {unknown} are not in the training data of the stack")

    @cached_property
    def offsets(self) -> np.ndarray:
        """First row of each structure in the per-atom arrays, and the end of the last: (n_structures + 1,) int64."""
        return row_offsets(self.n_atoms)

    def rows(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the rows of the structures at `indices` in the per-atom arrays, in that order: (n_rows,) int64."""
        return rows_of(self.offsets, np.asarray(indices, dtype=np.int64))

    def subset(self, indices: Sequence[int] | np.ndarray) -> Features:
        """Return the features of the structures at `indices`, in that order, as new arrays."""
        indices = np.asarray(indices, dtype=np.int64)
        forces = picked_rows(self.forces, self.offsets, indices, axis=1)
        reference = None if self.reference is None else self.reference.subset(indices)
        described = {name: picked_rows(one, self.offsets, indices) for name, one in self.descriptors.items()}
        return self._with(indices, subset_of(self.structures, indices), forces, reference, described)

    def of_known_elements(self, known: Features, indices: Iterable[int] | None = None) -> np.ndarray:
        """Return those of `indices`, all by default, whose structures have only elements of `known`: (n,) int64."""
        chosen = range(len(self)) if indices is None else indices
        found = [i for i in chosen if np.isin(self.structures[i].numbers, known.elements).all()]
        return np.array(found, dtype=np.int64)

    def sample(self, n_rows: int, fewest: int = 1) -> Features:
        """Return structures with about `n_rows` atoms, drawn at random if there are more, but at least `fewest`."""
        if self.forces.shape[1] <= n_rows:
            return self
        n_drawn = max(fewest, len(self) * n_rows // self.forces.shape[1])
        return self.subset(np.sort(np.random.default_rng(0).permutation(len(self))[:n_drawn]))

    def blocks(self, n_rows: int = BLOCK_ROWS) -> Iterator[tuple[slice, Features]]:
        """Yield blocks of consecutive structures: their rows, and their features as views.

        A block has at most `n_rows` atoms, unless it is one larger structure.  A block of all structures is this object
        itself, so that who has predicted it knows it again.
        """
        for block, rows in blocks(self.n_atoms, n_rows):
            if block.stop - block.start == len(self):
                yield rows, self
                return
            reference = None if self.reference is None else self.reference.part(block, rows)
            described = {name: one[rows] for name, one in self.descriptors.items()}
            yield rows, self._with(block, self.structures[block], self.forces[:, rows], reference, described)

    def _with(
        self,
        index: np.ndarray | slice,
        structures: Sequence[Atoms],
        forces: np.ndarray,
        reference: Prediction | None,
        descriptors: Mapping[str, np.ndarray],
    ) -> Features:
        """Return the features of some of the structures, those at `index`, with the given per-atom arrays."""
        return Features(
            structures=structures,
            models=self.models,
            forces=forces,
            energies={name: energy[index] for name, energy in self.energies.items()},
            reference=reference,
            source=self.source,
            stresses={name: stress[index] for name, stress in self.stresses.items()},
            descriptors=descriptors,
        )

    def of_models(self, models: Sequence[str]) -> Features:
        """Return the same structures with the predictions of `models` alone, in that order.

        Without any model, `forces` has shape (0, n_rows, 3).  Raises ElmlffError if one of them has no features.
        """
        if missing := [name for name in models if name not in self.models]:
            raise ElmlffError(f"no features of {', '.join(missing)}; there are: {', '.join(self.models)}")
        if tuple(models) == self.models:
            return self
        if len(models) == 1:
            first = self.models.index(models[0])
            forces = self.forces[first : first + 1]
        else:
            forces = new_array((len(models), *self.forces.shape[1:]))
            for row, name in zip(forces, models, strict=True):
                row[:] = self.forces[self.models.index(name)]
        return Features(
            structures=self.structures,
            models=tuple(models),
            forces=forces,
            energies={name: self.energies[name] for name in models if name in self.energies},
            reference=self.reference,
            source=self.source,
            stresses={name: self.stresses[name] for name in models if name in self.stresses},
            descriptors={name: self.descriptors[name] for name in models if name in self.descriptors},
        )

    def base_prediction(self, model: str) -> Prediction:
        """Return all that one base model predicts."""
        forces, others = self.forces[self.models.index(model)], (self.energies, self.stresses, self.descriptors)
        return Prediction(self.n_atoms, forces, *(known.get(model) for known in others))


def in_blocks(features: Features, predict: Callable[[Features], Prediction], first: int = 0) -> Prediction:
    """Call `predict` for one block of structures at a time, and join the predictions.

    `first` is the index of the first structure for messages, if they are part of a longer sequence.

    Raises ForceFieldError if a prediction is not finite; the message names the structure and the atom.
    """
    forces = new_array((int(features.n_atoms.sum()), 3))
    energies, stresses = [], []
    for rows, block in features.blocks():
        prediction = predict(block).finite("the meta-model", first)
        first += len(block)
        forces[rows] = prediction.forces
        energies.append(prediction.energy)
        stresses.append(prediction.stress)
    return Prediction(features.n_atoms, forces, _joined(energies), _joined(stresses))


def _joined(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    given = [array for array in arrays if array is not None]
    return np.concatenate(given) if given and len(given) == len(arrays) else None
