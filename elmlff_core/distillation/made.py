"""Made structures: random displacements and strains of training structures, without a label yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms

from elmlff_core.contracts.structures import Structures
from elmlff_core.distillation.settings import DistillationSettings

Kind = Literal["rattle", "strain", "dynamics", "given"]


@dataclass(frozen=True)
class Source:
    """Where structures come from.

    Attributes
    ----------
    kind : how they are made; ``given`` are those of the user
    size : Å for a rattle, a strain, or K for dynamics
    n_wanted : number of structures
    name : in words
    """

    kind: Kind
    size: float
    n_wanted: int
    name: str


def sources_of(settings: DistillationSettings, train: Sequence[Atoms]) -> list[Source]:
    """Return what is made: half by molecular dynamics, if there are temperatures, and half by rattles and strains.

    Cells are strained only where a structure is periodic.
    """
    n_made = settings.n_made(len(train))
    strains = settings.strains if any(atoms.pbc.any() for atoms in train) else ()
    sizes: list[tuple[Kind, float, str]] = [("rattle", size, f"rattles of {size:g} Å") for size in settings.rattles]
    sizes += [("strain", size, f"strains of {100 * size:g} %") for size in strains]
    heats: list[tuple[Kind, float, str]] = [
        ("dynamics", temperature, f"molecular dynamics at {temperature:g} K") for temperature in settings.temperatures
    ]
    n_heats = n_made // (2 if sizes else 1) if heats else 0
    return _shared(sizes, n_made - n_heats) + _shared(heats, n_heats)


def _shared(kinds: Sequence[tuple[Kind, float, str]], n_all: int) -> list[Source]:
    """Divide `n_all` structures among `kinds`, the first of which have one more if that does not come out even."""
    found = []
    for place, (kind, size, name) in enumerate(kinds):
        n_wanted = n_all // len(kinds) + (place < n_all % len(kinds))
        if n_wanted:
            found.append(Source(kind, size, n_wanted, name))
    return found


def displaced(source: Source, train: Sequence[Atoms], smallest: float, seed: int) -> Structures:
    """Make the structures of a rattle or of a strain from training structures drawn at random.

    Parameters
    ----------
    source : kind, size and number
    train : training structures
    smallest : Å, the rattle that strained structures have too, so that not all atoms sit where symmetry puts them
    seed : seed; with the kind and size of `source` it decides the structures
    """
    rng = np.random.default_rng([seed, source.kind == "strain", round(1e6 * source.size)])
    usable = [index for index, atoms in enumerate(train) if source.kind == "rattle" or atoms.pbc.any()]
    made = []
    for index in rng.choice(usable, source.n_wanted):
        atoms = train[int(index)].copy()
        if source.kind == "strain":
            strain(atoms, source.size, rng)
        size = source.size if source.kind == "rattle" else smallest
        atoms.positions += rng.normal(scale=size, size=(len(atoms), 3))
        made.append(atoms)
    return Structures.of(made)


def strain(atoms: Atoms, size: float, rng: np.random.Generator) -> None:
    """Strain the cell of `atoms`, and the atoms with it, by random components of standard deviation `size`.

    Directions that are not periodic keep their lengths, as those across a slab.
    """
    random = rng.normal(scale=size, size=(3, 3))
    change = np.eye(3) + (random + random.T) / 2
    cell = atoms.cell.complete().array
    rows = np.where(atoms.pbc[:, None], cell @ change, cell)
    atoms.set_cell(np.where(atoms.cell.array.any(axis=1)[:, None], rows, 0.0), scale_atoms=False)
    atoms.positions = (atoms.positions @ np.linalg.inv(cell)) @ rows


def starting_points(train: Sequence[Atoms], n_starts: int) -> list[int]:
    """Return the indices of training structures from which simulations start, evenly spaced: (n_starts,)."""
    return np.linspace(0, len(train) - 1, n_starts).round().astype(int).tolist()
