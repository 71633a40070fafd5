"""Calculators for the tests of the adapter `ase`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class FileCalculator(Calculator):
    """The energy is the number of bytes in a file."""

    implemented_properties = ("energy", "forces")

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = Path(path)

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": float(len(self._path.read_bytes())), "forces": np.zeros((len(atoms), 3))}


def refuses() -> None:
    """A callable that makes no calculator."""
    raise ValueError("not today")
