"""Prediction: energies, forces and stresses that a force field predicts, as checked arrays, and descriptors.

Workers under other interpreters import this file, so it and all it imports keep to Python 3.9, numpy and ase.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from elmlff_core.arrays import picked_rows, row_offsets
from elmlff_core.errors import ForceFieldError

if TYPE_CHECKING:
    from typing import Self  # newer than Python 3.9

# The square of a larger number may not be finite any more, and no error computed from it either.
LARGEST_PREDICTION = 1e30  # eV, eV/Å, eV/Å³


@dataclass(frozen=True)
class Prediction:
    """Energies, forces and stresses of a sequence of structures.

    Per-atom arrays are concatenated in the order of the structures, so that structures of different sizes need no
    padding; structure ``i`` has the rows ``offsets[i]:offsets[i + 1]``.

    Attributes
    ----------
    n_atoms : (n_structures,) int
    forces : (sum of n_atoms, 3) float64, eV/Å
    energy : (n_structures,) float64, eV, or None if the model predicts no energy
    stress : (n_structures, 6) float64, eV/Å³, Voigt order xx yy zz yz xz xy and sign as in ASE, or None
    descriptors : (sum of n_atoms, n_numbers) float32, without unit, by which the model tells the surroundings of atoms
        apart; they do not change with rotations, translations, and the order of other atoms.  None unless asked for
    """

    n_atoms: np.ndarray
    forces: np.ndarray
    energy: np.ndarray | None = None
    stress: np.ndarray | None = None
    descriptors: np.ndarray | None = None

    @cached_property
    def offsets(self) -> np.ndarray:
        """First row of each structure in the per-atom arrays, and the end of the last: (n_structures + 1,) int64."""
        return row_offsets(self.n_atoms)

    def forces_of(self, index: int) -> np.ndarray:
        """Return the forces on the atoms of structure `index`: (n_atoms, 3), eV/Å."""
        return self.forces[self.offsets[:-1][index] : self.offsets[1:][index]]

    def results_of(self, index: int) -> dict[str, Any]:
        """Return what is predicted of structure `index` under ASE's names: forces, and energy and stress if given."""
        results: dict[str, Any] = {"forces": self.forces_of(index)}
        if self.energy is not None:
            results["energy"] = float(self.energy[index])
        if self.stress is not None:
            results["stress"] = self.stress[index]
        return results

    def subset(self, indices: Sequence[int] | np.ndarray) -> Prediction:
        """Return the predictions for the structures at `indices`, in that order, as new arrays."""
        indices = np.asarray(indices, dtype=np.int64)
        return self._with(indices, lambda of_atoms: picked_rows(of_atoms, self.offsets, indices))

    def part(self, structures: slice, rows: slice) -> Prediction:
        """Return the predictions for consecutive `structures`, whose atoms are the given `rows`, as views."""
        return self._with(structures, lambda of_atoms: of_atoms[rows])

    def _with(self, index: np.ndarray | slice, picked: Callable[[np.ndarray], np.ndarray]) -> Prediction:
        """Return the predictions for the structures at `index`, whose rows `picked` returns."""
        energy = None if self.energy is None else self.energy[index]
        stress = None if self.stress is None else self.stress[index]
        descriptors = None if self.descriptors is None else picked(self.descriptors)
        return Prediction(self.n_atoms[index], picked(self.forces), energy, stress, descriptors)

    @classmethod
    def from_lists(
        cls,
        forces: Sequence[np.ndarray],
        energy: Sequence[float] | np.ndarray | None = None,
        stress: Sequence[np.ndarray] | np.ndarray | None = None,
        descriptors: Sequence[np.ndarray] | None = None,
    ) -> Prediction:
        """Join one array per structure: forces (n_atoms, 3), eV/Å, energies, eV, stresses (6,), eV/Å³, descriptors."""
        return cls(
            n_atoms=np.array([len(part) for part in forces], dtype=np.int64),
            forces=np.concatenate([np.asarray(part, dtype=np.float64) for part in forces])
            if len(forces)
            else np.zeros((0, 3)),
            energy=None if energy is None else np.asarray(energy, dtype=np.float64),
            stress=None if stress is None else np.asarray(stress, dtype=np.float64),
            descriptors=np.concatenate(descriptors).astype(np.float32) if descriptors else None,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Join predictions of consecutive structures; a property that one of them lacks is dropped."""

        def join(name: str) -> Any:
            arrays = [getattr(part, name) for part in parts]
            return None if any(array is None for array in arrays) else np.concatenate(arrays)

        return cls(**{field.name: join(field.name) for field in fields(cls)})

    def checked(self, structures: Sequence[Atoms], model: str, first: int = 0) -> Prediction:
        """Check that the arrays fit `structures` and are finite and below 1e30, and return self.

        Parameters
        ----------
        structures : what was predicted
        model : name of the model, for messages
        first : index of ``structures[0]`` in the whole dataset, for messages

        Raises
        ------
        ForceFieldError
            A shape is wrong, or a value is NaN, infinite or huge; the message names model, structure and atom.
        """
        if len(self.n_atoms) != len(structures):
            raise ForceFieldError(
                f"model '{model}' returned predictions for {len(self.n_atoms)} structures, expected {len(structures)}"
            )
        for index, (found, atoms) in enumerate(zip(self.n_atoms, structures, strict=True)):
            if found != len(atoms):
                raise ForceFieldError(
                    f"model '{model}' returned forces ({found}, 3) for structure {first + index}, "
                    f"expected ({len(atoms)}, 3)"
                )
        n_structures, n_rows = len(structures), int(self.n_atoms.sum())
        expected = {"forces": (n_rows, 3), "energy": (n_structures,), "stress": (n_structures, 6)}
        for name, shape in expected.items():
            array = getattr(self, name)
            if array is None:
                continue
            if array.shape != shape:
                raise ForceFieldError(f"model '{model}' returned {name} of shape {array.shape}, expected {shape}")
        described = self.descriptors
        if described is not None and (described.ndim != 2 or len(described) != n_rows):
            raise ForceFieldError(
                f"model '{model}' returned descriptors of shape {described.shape}, expected ({n_rows}, any)"
            )
        return self.finite(model, first)

    def finite(self, model: str, first: int = 0) -> Prediction:
        """Check that all values are finite and below 1e30, and return self; arguments and errors as in `checked`."""
        for name in ("forces", "energy", "stress", "descriptors"):
            array = getattr(self, name)
            if array is None:
                continue
            if not (possible := np.abs(array) <= LARGEST_PREDICTION).all():
                row = int(np.argwhere(~possible)[0][0])
                where = f"structure {first + row}"
                if name in ("forces", "descriptors"):
                    index = int(np.searchsorted(self.offsets, row, side="right")) - 1
                    where = f"atom {row - self.offsets[index]} of structure {first + index}"
                wrong = "huge" if np.isfinite(array[row]).all() else "non-finite"
                raise ForceFieldError(
                    f"model '{model}' returned a {wrong} {name} for {where}: "
                    "the structure may be far outside the training data of the model"
                )
        return self
