"""Numbers of neighbours in structures, and the largest numbers that a descriptor of DeePMD-kit takes (``sel``)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from elmlff_core.plugins.toolkit import NeighbourFinder


def largest_counts(atoms: Atoms, centre: np.ndarray, neighbour: np.ndarray, type_map: Sequence[str]) -> np.ndarray:
    """Return the largest number of neighbours of each type that an atom of `atoms` has: (n_types,) int64.

    Parameters
    ----------
    atoms : the structure
    centre, neighbour : (n_pairs,) int64, from `NeighbourFinder.pairs`
    type_map : chemical symbols of the types
    """
    type_of = np.full(max(atomic_numbers.values()) + 1, -1)
    type_of[[atomic_numbers[symbol] for symbol in type_map]] = np.arange(len(type_map))
    cells = centre * len(type_map) + type_of[atoms.numbers[neighbour]]
    counts = np.bincount(cells, minlength=len(atoms) * len(type_map))
    return np.asarray(counts.reshape(len(atoms), len(type_map)).max(axis=0))


class CrowdingCheck:
    """Warns once if a structure has more neighbours than the descriptor takes: DeePMD-kit drops the farthest ones.

    The forces are then not continuous, and those of a cell differ from those of its supercells.

    Parameters
    ----------
    model : name of the model, for the message
    definition : the model as in an input of DeePMD-kit; nothing is checked if its descriptor has no ``sel`` here
    type_map : chemical symbols in the order of ``sel``
    cutoff : Å
    """

    def __init__(self, model: str, definition: dict[str, Any], type_map: Sequence[str], cutoff: float) -> None:
        sel = definition.get("descriptor", {}).get("sel")
        # A number is for the neighbours of all types together, a list for those of each type.
        self._most = None if sel in (None, "auto") else np.atleast_1d(np.asarray(sel, dtype=np.int64))
        self._model, self._type_map, self._cutoff = model, type_map, cutoff
        self._finder = NeighbourFinder(cutoff)

    def __call__(self, structures: Sequence[Atoms]) -> None:
        """Check `structures`, until one is found that has too many neighbours."""
        for index, atoms in enumerate(structures):
            if self._most is None:
                return
            centre, neighbour, _ = self._finder.pairs(atoms)
            found = largest_counts(atoms, centre, neighbour, self._type_map)
            if len(self._most) == 1:
                found = found.sum(keepdims=True)
            if (found <= self._most).all():
                continue
            worst = int(np.argmax(found - self._most))
            kind = f"{self._type_map[worst]} " if len(self._most) == len(found) > 1 else ""
            warnings.warn(
                f"model '{self._model}': an atom of structure {index} ({atoms.get_chemical_formula()}) has "
                f"{found[worst]} {kind}neighbours within {self._cutoff:g} Å, and the descriptor takes "
                f"{self._most[worst]} (its sel): DeePMD-kit leaves out the farthest, and the forces are wrong; train "
                "with a larger sel, on structures as dense as this one",
                stacklevel=3,
            )
            self._most = None
