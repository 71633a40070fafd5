"""Elements of structures: which a model knows, and their share of the energy."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from elmlff_core.errors import ForceFieldError

if TYPE_CHECKING:  # workers in other environments import this module, and have no data to read
    from elmlff_core.data.dataset import Dataset


def by_atomic_number(symbols: Iterable[str]) -> list[str]:
    """Chemical symbols in the order of the periodic table."""
    return sorted(symbols, key=atomic_numbers.__getitem__)


def check_elements(structures: Sequence[Atoms], elements: Collection[str] | None, model: str) -> None:
    """Refuse structures with an element that the model does not know; None knows any.

    Raises
    ------
    ForceFieldError
        Naming the structure, the element and the known ones.
    """
    if elements is None:
        return
    known = {atomic_numbers[symbol] for symbol in elements}
    for index, atoms in enumerate(structures):
        unknown = set(atoms.numbers.tolist()) - known
        if unknown:
            raise ForceFieldError(
                f"structure {index} holds {chemical_symbols[min(unknown)]}, which model '{model}' does not know; "
                f"it knows {', '.join(by_atomic_number(elements))}"
            )


def element_energies(dataset: Dataset) -> np.ndarray:
    """Energy that least squares ascribe to an atom of each element: (119,) float64, eV, by atomic number.

    Where compositions do not vary enough to tell elements apart, this is the solution of smallest norm; it reproduces
    the energies of the data all the same.
    """
    energies = np.zeros(len(chemical_symbols))
    if dataset.energy is None or len(dataset) == 0:
        return energies
    counts = np.array([np.bincount(atoms.numbers, minlength=len(energies)) for atoms in dataset.structures])
    present = counts.any(axis=0)
    energies[present] = np.linalg.lstsq(counts[:, present].astype(np.float64), dataset.energy, rcond=None)[0]
    return energies


def summed_element_energies(structures: Sequence[Atoms], energies: np.ndarray) -> np.ndarray:
    """Sum of `element_energies` over the atoms of each structure: (n_structures,) float64, eV."""
    return np.array([energies[atoms.numbers].sum() for atoms in structures], dtype=np.float64)
