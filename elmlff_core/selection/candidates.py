"""Candidates: the structures of trajectories, and those among them that no force field should see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from elmlff_core.contracts.structures import GrowingStructures, Structures, check_geometry
from elmlff_core.data.readers import read_frames
from elmlff_core.errors import ConfigError, DataError
from elmlff_core.graphs.neighbours import periodic_edges
from elmlff_core.settings.run_folder import RUN_FILE
from elmlff_core.simulation.molecular_dynamics import LOG_FILE
from elmlff_core.simulation.output import TRAJECTORIES


@dataclass(frozen=True)
class Candidates:
    """Structures of one or more trajectories, in order.

    Attributes
    ----------
    structures : n structures, without labels
    sources : names of the trajectories
    files : (n,) int, index of the trajectory of each structure in `sources`
    frames : (n,) int, index of each structure in its trajectory
    broken : (n,) bool, whether a position or a cell is not finite, far too large, or missing
    """

    structures: Structures
    sources: tuple[str, ...]
    files: np.ndarray
    frames: np.ndarray
    broken: np.ndarray

    @classmethod
    def read(cls, sources: Sequence[str]) -> Candidates:
        """Read trajectories: files, deepmd/npy folders, or folders of `elmlff md`.

        Raises
        ------
        DataError
            A trajectory cannot be read, or holds no structures.
        ConfigError
            One is named twice.
        """
        if len(set(sources)) < len(sources):
            raise ConfigError("a trajectory is named twice: name each once")
        growing, broken, counts = GrowingStructures(), list[bool](), list[int]()
        for source in sources:
            before = len(broken)
            for atoms in read_frames(trajectory_of(source)):
                growing.append(atoms)
                broken.append(_is_broken(atoms))
            counts.append(len(broken) - before)
        files = np.repeat(np.arange(len(sources)), counts)
        frames = np.concatenate([np.arange(count) for count in counts])
        return cls(growing.whole(), tuple(sources), files, frames, np.array(broken, dtype=bool))

    def __len__(self) -> int:
        return len(self.structures)


def trajectory_of(source: str) -> str:
    """Return the trajectory of a folder that `elmlff md` wrote; another `source` is returned as it is."""
    folder = Path(source).expanduser()
    if not (folder / RUN_FILE).is_file() or not (folder / LOG_FILE).is_file():
        return source
    found = sorted(path for path in folder.iterdir() if path.suffix in TRAJECTORIES)
    if len(found) != 1:
        raise DataError(f"{folder} holds {len(found)} trajectories, expected one: name the file")
    return str(found[0])


def _is_broken(atoms: Atoms) -> bool:
    if not len(atoms):
        return True
    try:
        check_geometry([atoms])
    except DataError:
        return True
    return False


def closest_contact(atoms: Atoms, below: float) -> float:
    """Return the smallest distance of two atoms, in units of the sum of their covalent radii.

    Infinite if there is none shorter than `below`; pairs that are further apart than that are not looked for.
    """
    radii = covalent_radii[atoms.numbers]
    cutoff = 2 * below * float(radii.max())
    if cutoff <= 0:
        return np.inf
    (first, second), vectors = periodic_edges(atoms, cutoff)
    if not len(first):
        return np.inf
    ratio = float((np.linalg.norm(vectors, axis=1) / (radii[first] + radii[second])).min())
    return ratio if ratio < below else np.inf
