"""Labels: what a stack predicts for made structures, in parts that any executor can compute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from elmlff_core.arrays import rows_of
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.contracts.structures import flat_structures
from elmlff_core.errors import ElmlffError
from elmlff_core.execution.tasks import Task
from elmlff_core.features.feature_file import load_features, save_features
from elmlff_core.files import write_bytes
from elmlff_core.stack.conservation import conserving, why_not_conserved
from elmlff_core.stack.place import StackPlace
from elmlff_core.stack.stack import Stack, StackPrediction

PER_ATOM = ("forces", "forces_std", "outside", "suspect")  # fields of a StackPrediction
ATOMS_OF_A_PART = 4000  # some seconds with a fast stack, a minute with universal models


def save_structures(structures: Sequence[Atoms], path: Path) -> None:
    """Write structures to a file from which `load_structures` reads them with every digit."""
    flat = flat_structures(structures)
    save_features(Features(flat, (), np.zeros((0, len(flat.numbers), 3)), {}), path)


def load_structures(path: Path) -> Sequence[Atoms]:
    """Read what `save_structures` wrote."""
    return load_features(path).structures


@dataclass(frozen=True)
class Labelling:
    """The labels of a part of the structures in a file.

    Attributes
    ----------
    stack : the stack
    structures : the file
    indices : which of them, all of them periodic in the same directions
    path : where the labels are written
    """

    stack: StackPlace
    structures: Path
    indices: tuple[int, ...]
    path: Path

    def __call__(self, reporter: Reporter) -> None:
        """Predict and write the labels, unless they are there."""
        if self.path.exists():
            return
        chosen = flat_structures(load_structures(self.structures)).subset(self.indices)
        with reporter.progress(f"labelling {len(chosen)} structures") as progress:
            found = self.stack.load().predict(chosen, progress)
        arrays = {field.name: getattr(found, field.name) for field in fields(found)}
        given = {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self.path, save(given))

    def labels(self) -> StackPrediction:
        """Read the labels; ElmlffError if they are damaged."""
        try:
            return StackPrediction(**load_file(self.path))
        except (OSError, SafetensorError, TypeError) as error:
            raise ElmlffError(
                f"cannot read {self.path}: {error}; remove it, and the same command makes it again"
            ) from error


def labellings(structures: Sequence[Atoms], path: Path, stack: StackPlace, folder: Path) -> list[Labelling]:
    """Divide the structures of the file `path` into parts; stresses need parts that are periodic in all directions."""
    groups: dict[bool, list[int]] = {}
    for index, atoms in enumerate(structures):
        groups.setdefault(bool(atoms.pbc.all()), []).append(index)
    parts = [part for _, members in sorted(groups.items()) for part in _parts(members, structures)]
    return [
        Labelling(stack, path.absolute(), tuple(part), (folder / f"part-{number:04d}.safetensors").absolute())
        for number, part in enumerate(parts)
    ]


def _parts(members: Sequence[int], structures: Sequence[Atoms]) -> Iterator[list[int]]:
    """Yield parts with about `ATOMS_OF_A_PART` atoms each."""
    part: list[int] = []
    n_atoms = 0
    for index in members:
        part.append(index)
        n_atoms += len(structures[index])
        if n_atoms >= ATOMS_OF_A_PART:
            yield part
            part, n_atoms = [], 0
    if part:
        yield part


def labelling_tasks(parts: Sequence[Labelling]) -> list[Task]:
    """Return the tasks of the parts that are not labelled yet."""
    return [
        Task(f"labels, part {number + 1} of {len(parts)}", part)
        for number, part in enumerate(parts)
        if not part.path.exists()
    ]


def all_labels(parts: Sequence[Labelling]) -> StackPrediction:
    """Return the labels of all structures, in their order; stresses are NaN where there are none."""
    found = [part.labels() for part in parts]
    if any(one.stress is not None for one in found):
        found = [one if one.stress is not None else _without_stress(one) for one in found]
    order = np.argsort(np.concatenate([part.indices for part in parts]))
    return picked(StackPrediction.concatenate(found), order)


def _without_stress(found: StackPrediction) -> StackPrediction:
    return replace(found, stress=np.full((len(found.n_atoms), 6), np.nan))


def picked(found: StackPrediction, indices: np.ndarray) -> StackPrediction:
    """Return the labels of the structures at `indices`, in that order, with their uncertainties."""
    rows = rows_of(found.offsets, indices)
    arrays = {field.name: getattr(found, field.name) for field in fields(found)}
    chosen: dict[str, Any] = {
        name: None if array is None else array[rows if name in PER_ATOM else indices] for name, array in arrays.items()
    }
    return StackPrediction(**chosen)


def why_no_energies(stack: Stack) -> str | None:
    """Return why a student must not learn the energies of `stack`; None if its forces are their gradient."""
    if why_not_conserved(stack) is None:
        return None
    return (
        f"the forces of the meta-model '{stack.meta_name}' are not the gradient of an energy: the student is trained "
        "on forces alone, and its energy is the potential of its own forces. To learn energies too, distil a stack of "
        f"one of these: {conserving()}"
    )
