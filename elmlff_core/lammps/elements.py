"""Which element each atom type of LAMMPS is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.data import atomic_masses_iupac2016, atomic_numbers, chemical_symbols

from elmlff_core.errors import ConfigError, did_you_mean

# u; closer than half of the distance of most neighbours in the periodic table, wider than the rounding of input files
MASS_TOLERANCE = 0.1
REMEDY = "name the element of every type: elements=[...] of couple, or --elements Cu,Ni"


def elements_of_types(lmp: Any, elements: Sequence[str] | None) -> tuple[np.ndarray, str]:
    """Return the atomic number of each type, and in words how they were found.

    Parameters
    ----------
    lmp : LAMMPS, with a box
    elements : symbols of type 1, 2, ...; None finds them by the labels of `labelmap atom`, or else by the masses

    Returns
    -------
    numbers : (1 + n_types,) int64; the first entry belongs to no type
    how : for messages

    Raises
    ------
    ConfigError
        A symbol is unknown, there are too few or too many, or a mass belongs to no element or to several.
    """
    n_types = lmp.extract_setting("ntypes")
    if elements is not None:
        return _given(elements, n_types), "as given"
    if (labelled := _by_label(lmp, n_types)) is not None:
        return labelled, "by type label"
    return _by_mass(lmp, n_types), "by mass"


def described(numbers: np.ndarray, how: str) -> str:
    """Return the types in words, as in ``type 1 is Cu (by mass)``."""
    listed = ", ".join(f"{index} is {chemical_symbols[number]}" for index, number in enumerate(numbers) if index)
    return f"{'types' if len(numbers) > 2 else 'type'} {listed} ({how})"


def _given(elements: Sequence[str], n_types: int) -> np.ndarray:
    if len(elements) != n_types:
        raise ConfigError(
            f"{len(elements)} elements are given ({', '.join(elements)}), and the box has {n_types} atom types: one "
            "element for each type, in their order"
        )
    for symbol in elements:
        if symbol not in atomic_numbers or symbol == "X":
            raise ConfigError(f"'{symbol}' is no element{did_you_mean(symbol, chemical_symbols[1:])}")
    return np.array([0, *(atomic_numbers[symbol] for symbol in elements)])


def _by_label(lmp: Any, n_types: int) -> np.ndarray | None:
    """Return the elements by type labels; None without a label map, or with other labels than elements."""
    numbers = np.zeros(n_types + 1, dtype=int)
    lmp.set_show_error(False)  # without a label map the question is an error, which LAMMPS would print
    try:
        for symbol in chemical_symbols[1:]:
            if lmp.eval(f"is_typelabel(atom,{symbol})"):
                numbers[int(lmp.eval(f"label2type(atom,{symbol})"))] = atomic_numbers[symbol]
    except Exception:  # LAMMPS raises no narrower class
        return None
    finally:
        lmp.set_show_error(True)
    return numbers if numbers[1:].all() else None


def _by_mass(lmp: Any, n_types: int) -> np.ndarray:
    masses = lmp.extract_atom("mass")
    if not masses:
        raise ConfigError(f"atoms of this atom_style have masses of their own, not by type: {REMEDY}")
    numbers = np.zeros(n_types + 1, dtype=int)
    for index in range(1, n_types + 1):
        near = np.flatnonzero(np.abs(atomic_masses_iupac2016[1:] - masses[index]) < MASS_TOLERANCE) + 1
        if len(near) != 1:
            found = (
                f"may be {' or '.join(chemical_symbols[number] for number in near)}" if len(near) else "is no element"
            )
            raise ConfigError(f"atom type {index} with mass {masses[index]:g} {found}: {REMEDY}")
        numbers[index] = near[0]
    return numbers
