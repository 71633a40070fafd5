"""Read the JSON files of the mlearn benchmark (https://github.com/materialsvirtuallab/mlearn).

A file is a list of structures with labels, each an object with

=====================  ================================================================================
structure              a structure of pymatgen as a dictionary: the rows of ``lattice.matrix`` (Å), and
                       ``sites`` with ``species``, ``xyz`` (Å) and ``abc`` (fractions of the cell)
outputs.energy         total energy, eV
outputs.forces         (n_atoms, 3), eV/Å
outputs.virial_stress  six numbers in kbar, which are not read
group                  ``AIMD-NVT``, ``Elastic``, ``Surface`` or ``Vacancy``
num_atoms              number of sites
=====================  ================================================================================

The stresses are left out, because nothing says in which order the off-diagonal ones are, and programs that read these
files disagree about it, some even from element to element.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from pydantic import BaseModel, FiniteFloat, TypeAdapter, ValidationError, model_validator

from elmlff_core.errors import DataError

Vector = tuple[FiniteFloat, FiniteFloat, FiniteFloat]


class _Species(BaseModel):
    element: str
    occu: float


class _Site(BaseModel):
    species: list[_Species]
    xyz: Vector | None = None
    abc: Vector | None = None

    @model_validator(mode="after")
    def _usable(self) -> _Site:
        if len(self.species) != 1 or self.species[0].occu != 1:
            raise ValueError("the site is disordered, expected one element of occupancy 1")
        if self.species[0].element not in atomic_numbers:
            raise ValueError(f"'{self.species[0].element}' is not a chemical symbol")
        if self.xyz is None and self.abc is None:
            raise ValueError("the site has no position, expected xyz or abc")
        return self


class _Lattice(BaseModel):
    matrix: tuple[Vector, Vector, Vector]


class _Structure(BaseModel):
    lattice: _Lattice
    sites: list[_Site]


class _Outputs(BaseModel):
    energy: FiniteFloat
    forces: list[Vector]


class _Entry(BaseModel):
    structure: _Structure
    outputs: _Outputs
    group: str = ""
    num_atoms: int | None = None

    @model_validator(mode="after")
    def _same_number_of_atoms(self) -> _Entry:
        n_sites, n_forces = len(self.structure.sites), len(self.outputs.forces)
        if n_forces != n_sites or self.num_atoms not in (None, n_sites):
            named = "" if self.num_atoms is None else f" and num_atoms {self.num_atoms}"
            raise ValueError(f"there are {n_sites} sites but forces on {n_forces} atoms{named}")
        return self


def read_mlearn(path: Path) -> Iterator[Atoms]:
    """Yield structures with energy (eV) and forces (eV/Å) on a calculator and their group in ``info``.

    Raises
    ------
    DataError
        The file cannot be read or does not have the form above; the message names the structure and what is wrong.
    """
    try:
        entries = TypeAdapter(list[_Entry]).validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValidationError as error:
        raise DataError(_explain(path, error)) from error
    if not entries:
        raise DataError(f"{path} holds no structures")
    for entry in entries:
        yield _atoms(entry)


def _atoms(entry: _Entry) -> Atoms:
    cell = np.array(entry.structure.lattice.matrix)
    sites = entry.structure.sites
    positions = [np.array(site.abc) @ cell if site.xyz is None else site.xyz for site in sites]
    atoms = Atoms([site.species[0].element for site in sites], positions=positions, cell=cell, pbc=True)
    if entry.group:
        atoms.info["group"] = entry.group
    atoms.calc = SinglePointCalculator(atoms, energy=entry.outputs.energy, forces=np.array(entry.outputs.forces))
    return atoms


def _explain(path: Path, error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:  # of the file as a whole
        return f"{path} is not a JSON file of mlearn, a list of structures with labels: {message}"
    index, *keys = problem["loc"]
    where = f"'{'.'.join(map(str, keys))}' of structure {index}" if keys else f"structure {index}"
    return f"{where} of {path}: {message}; expected the form of the JSON files of mlearn"
