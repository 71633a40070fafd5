"""The toolkit for authors of adapters: errors of backends, elements, fingerprints, boxes and neighbours.

Workers under other interpreters import this file, so it and all it imports keep to Python 3.9, numpy and ase.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.geometry import complete_cell

from elmlff_core.errors import ElmlffError, ForceFieldError

if TYPE_CHECKING:  # workers in other environments do not read data
    from elmlff_core.contracts.dataset import Dataset


@contextmanager
def backend_errors(model: str, adapter: str, action: str) -> Iterator[None]:
    """Turn any exception of a backend into a ForceFieldError.

    Parameters
    ----------
    model : name of the model
    adapter : name of the adapter
    action : the attempted action, for the message "cannot <action>", such as ``load model.pth``

    Raises
    ------
    ForceFieldError
        The backend raised an exception, which is the cause of this one; elmlff's own errors pass unchanged.
    """
    try:
        yield
    except ElmlffError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        raise ForceFieldError(
            f"model '{model}' (adapter '{adapter}') cannot {action}: {type(error).__name__}: {reason}"
        ) from error


def distribution_version(distribution: str) -> str:
    """Return the installed version of a distribution without importing it, or "" if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def existing_checkpoint(checkpoint: Path | None, model: str, adapter: str) -> Path:
    """Return the absolute path of a checkpoint; raise ForceFieldError if none is given or it is not a file."""
    if checkpoint is None:
        raise ForceFieldError(f"model '{model}' needs a checkpoint: adapter '{adapter}' cannot load without one")
    if not checkpoint.is_file():
        raise ForceFieldError(f"the checkpoint of model '{model}' is missing: there is no file {checkpoint}")
    return checkpoint.resolve()


def fingerprint(adapter: str, distribution: str, checkpoint: Path | None, *settings: object) -> str:
    """Return a hex digest of the adapter, its version, the backend's version, the checkpoint's bytes and `settings`.

    Parameters
    ----------
    adapter : name and version of the adapter's own code, such as ``dp/1``; increase the version when predictions change
    distribution : distribution of the backend; its installed version enters the digest
    checkpoint : file whose bytes enter the digest; its path does not
    settings : anything else that changes predictions; different settings must have a different `repr`
    """
    digest = hashlib.sha256()
    for part in (adapter, distribution, distribution_version(distribution), *map(repr, settings)):
        digest.update(part.encode() + b"\0")
    if checkpoint is not None:
        # Not hashlib.file_digest: workers run this under Python 3.9.
        contents = hashlib.sha256()
        with checkpoint.open("rb") as file:
            while chunk := file.read(1 << 20):
                contents.update(chunk)
        digest.update(contents.digest())
    return digest.hexdigest()


def by_atomic_number(symbols: Iterable[str]) -> list[str]:
    """Sort chemical symbols in the order of the periodic table."""
    return sorted(symbols, key=atomic_numbers.__getitem__)


def check_elements(structures: Sequence[Atoms], elements: Collection[str] | None, model: str) -> None:
    """Refuse structures with an element that the model does not know; with `elements` None, all are accepted.

    Raises
    ------
    ForceFieldError
        An element is not among `elements`; the message names the structure, the element and the known elements.
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
    """Fit one energy per element to the energies of `dataset` by least squares: (119,) float64, eV, by atomic number.

    Where the compositions do not vary enough to determine the energies of all elements, this is the solution of
    smallest norm; it fits the energies of the data equally well.
    """
    energies = np.zeros(len(chemical_symbols))
    if dataset.energy is None or len(dataset) == 0:
        return energies
    counts = np.array([np.bincount(atoms.numbers, minlength=len(energies)) for atoms in dataset.structures])
    present = counts.any(axis=0)
    energies[present] = np.linalg.lstsq(counts[:, present].astype(np.float64), dataset.energy, rcond=None)[0]
    return energies


def summed_element_energies(structures: Sequence[Atoms], energies: np.ndarray) -> np.ndarray:
    """Sum `element_energies` over the atoms of each structure: (n_structures,) float64, eV."""
    return np.array([energies[atoms.numbers].sum() for atoms in structures], dtype=np.float64)


def in_vacuum(atoms: Atoms, cutoff: float) -> Atoms:
    """Add vacuum in the non-periodic directions of `atoms`, so that no atom has an image within the cutoff there.

    The cell vector of a non-periodic direction is replaced by one normal to the two others.  Its length is the
    thickness of the structure plus twice the cutoff, so that images are two cutoffs apart.  Positions do not change.

    Parameters
    ----------
    atoms : any periodicity; not changed, and returned as it is if all directions are periodic
    cutoff : Å

    Returns
    -------
    Atoms
        Structure without labels and constraints, periodic in all directions.
    """
    if atoms.pbc.all():
        return atoms
    vectors = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)  # (3, 3)
    # complete_cell replaces zero vectors by unit vectors normal to the others.
    cell = complete_cell(vectors)  # (3, 3)
    for direction in np.flatnonzero(~atoms.pbc):
        normal = cell[direction]
        thickness = np.ptp(atoms.positions @ normal) if len(atoms) else 0.0
        cell[direction] = normal * (thickness + 2.0 * cutoff)
    return Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=cell, pbc=True)


class NeighbourFinder:
    """Neighbour list of all pairs of atoms within a cutoff, both i-j and j-i, including periodic images.

    It uses vesin, the fastest of the available libraries for small structures (30 µs for methane), which also supports
    mixed periodicity.

    Parameters
    ----------
    cutoff : Å
    """

    def __init__(self, cutoff: float) -> None:
        from vesin import NeighborList  # not installed where a worker runs under another interpreter

        self._finder = NeighborList(cutoff=cutoff, full_list=True)

    def pairs(self, atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find all pairs of `atoms`.

        Returns
        -------
        centre, neighbour : (n_pairs,) int64, indices of atoms
        offset : (n_pairs, 3) float64, Å, to be added to the position of the neighbour
        """
        cell = atoms.cell.complete().array if atoms.pbc.any() else np.zeros((3, 3))
        centre, neighbour, image = self._finder.compute(atoms.positions, cell, atoms.pbc.tolist(), "ijS")
        return centre.astype(np.int64), neighbour.astype(np.int64), image.astype(np.float64) @ cell
