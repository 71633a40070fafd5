"""The elements of the Materials Project's relaxations (MPtrj), to which CHGNet and SevenNet-0 were trained."""

from __future__ import annotations

from ase.data import chemical_symbols

ELEMENTS = tuple(chemical_symbols[1:84] + chemical_symbols[89:95])  # 89 elements: hydrogen to Bi, and Ac to Pu
