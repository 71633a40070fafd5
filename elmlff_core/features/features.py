"""Features: what the bases predict for some structures, beside the reference labels where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from elmlff_core.data.dataset import Dataset
from elmlff_core.errors import DataError, ElmlffError
from elmlff_core.prediction import Prediction


@dataclass(frozen=True)
class Features:
    """Base predictions over structures; per-atom rows are concatenated in the order of the structures.

    Attributes
    ----------
    structures : what was predicted
    models : names of the bases
    forces : (n_models, n_rows, 3) float64, eV/Å, with n_rows the sum of the numbers of atoms
    energies : model -> (n_structures,) float64, eV, of the bases that give energies; zeros of energy differ
    reference : labels as flat arrays, or None where the structures have none
    source : where the structures came from, for messages
    stresses : model -> (n_structures, 6) float64, eV/Å³, ASE's Voigt order and sign, of the bases that give stresses
    """

    structures: Sequence[Atoms]
    models: tuple[str, ...]
    forces: np.ndarray = field(repr=False)
    energies: Mapping[str, np.ndarray] = field(repr=False)
    reference: Prediction | None = field(default=None, repr=False)
    source: str = ""
    stresses: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @classmethod
    def from_predictions(
        cls, structures: Sequence[Atoms], predictions: Mapping[str, Prediction], dataset: Dataset | None = None
    ) -> Features:
        """Stack one prediction per model; `dataset` gives the labels of the same structures."""
        return cls(
            structures=structures,
            models=tuple(predictions),
            forces=np.stack([prediction.forces for prediction in predictions.values()]),
            energies={name: part.energy for name, part in predictions.items() if part.energy is not None},
            reference=None if dataset is None else Prediction.from_lists(dataset.forces, dataset.energy),
            source="" if dataset is None else dataset.source,
            stresses={name: part.stress for name, part in predictions.items() if part.stress is not None},
        )

    def __len__(self) -> int:
        return len(self.structures)

    @property
    def n_atoms(self) -> np.ndarray:
        """(n_structures,) int"""
        return np.array([len(atoms) for atoms in self.structures], dtype=np.int64)

    @property
    def atomic_numbers(self) -> np.ndarray:
        """(n_rows,) int"""
        return np.concatenate([atoms.numbers for atoms in self.structures]).astype(np.int64)

    @property
    def reference_forces(self) -> np.ndarray:
        """(n_rows, 3), eV/Å; DataError where the structures have no labels."""
        if self.reference is None:
            raise DataError("these structures have no reference forces")
        return self.reference.forces

    def check_elements(self, known: np.ndarray | Sequence[int]) -> None:
        """ElmlffError on an element whose atomic number is not among those `known` from training structures."""
        if unknown := np.setdiff1d(self.atomic_numbers, known).tolist():
            raise ElmlffError(
                f"elements with atomic numbers {unknown} were not in the structures the stack learnt from"
            )

    def rows(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Rows in the per-atom arrays of the structures at `indices`, in that order: (n_rows,) int64."""
        offsets = np.concatenate([[0], np.cumsum(self.n_atoms)])
        parts = [np.arange(offsets[i], offsets[i + 1]) for i in indices]
        return np.concatenate([np.zeros(0, dtype=np.int64), *parts])

    def subset(self, indices: Sequence[int] | np.ndarray) -> Features:
        """The structures at `indices`, in that order."""
        indices = np.asarray(indices, dtype=np.int64)
        rows = self.rows(indices)
        reference = self.reference
        if reference is not None:
            energy = None if reference.energy is None else reference.energy[indices]
            reference = Prediction(self.n_atoms[indices], reference.forces[rows], energy)
        return Features(
            structures=[self.structures[i] for i in indices],
            models=self.models,
            forces=self.forces[:, rows],
            energies={name: energy[indices] for name, energy in self.energies.items()},
            reference=reference,
            source=self.source,
            stresses={name: stress[indices] for name, stress in self.stresses.items()},
        )

    def of_models(self, models: Sequence[str]) -> Features:
        """The same structures with the predictions of `models` alone, in that order; of none, (0, n_rows, 3)."""
        if missing := [name for name in models if name not in self.models]:
            raise ElmlffError(f"no features of {', '.join(missing)}; there are: {', '.join(self.models)}")
        return Features(
            structures=self.structures,
            models=tuple(models),
            forces=self.forces[[self.models.index(name) for name in models]],
            energies={name: self.energies[name] for name in models if name in self.energies},
            reference=self.reference,
            source=self.source,
            stresses={name: self.stresses[name] for name in models if name in self.stresses},
        )

    def base_prediction(self, model: str) -> Prediction:
        """What one base predicts, as a Prediction."""
        return Prediction(self.n_atoms, self.forces[self.models.index(model)], self.energies.get(model))
