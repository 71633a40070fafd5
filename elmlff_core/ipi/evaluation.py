"""What a stack predicts for structures that come from i-PI, in atomic units, with the base models beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.errors import ConfigError, DataError, ElmlffError
from elmlff_core.features.energies import base_stresses
from elmlff_core.ipi.atomic_units import BOHR, FORCE, HARTREE
from elmlff_core.simulation.guard import NO_GUARD, Guard, Watch
from elmlff_core.stack.calculator import NO_ENERGY, why_no_stress
from elmlff_core.stack.frames import committee_energies, predicted_frames
from elmlff_core.stack.outside import outside_warning
from elmlff_core.stack.stack import Stack, StackPrediction

FAR = 1.0  # Å


class UncertainError(ElmlffError):
    """The guard ends the work for i-PI.

    Parameters
    ----------
    reason : with the structure, the atom, its uncertainty and the bound
    frame : the structure, with what the stack predicts for it
    """

    def __init__(self, reason: str, frame: Atoms) -> None:
        super().__init__(reason)
        self.frame = frame


@dataclass(frozen=True)
class Answer:
    """What i-PI gets for one structure.

    Attributes
    ----------
    potential : Hartree
    forces : (n_atoms, 3) float64, Hartree/Bohr
    virial : (3, 3) float64, Hartree, minus the stress times the volume; not a number where the stack has no stress, so
        that no pressure can be taken for one that was computed
    extras : JSON with arrays in atomic units.  ``committee_force`` (M, 3 n_atoms) has the forces of the base models.
        ``committee_pot`` (M,) has their energies with aligned zeros, and ``committee_virial`` (M, 9) their virials, if
        all base models give them.  As far as they are known, ``forces_uncertainty`` (n_atoms,) and
        ``energy_uncertainty`` have the standard deviations of the stack, and ``outside`` (n_atoms,) says how far atoms
        are from what it was fitted on
    """

    potential: float
    forces: np.ndarray
    virial: np.ndarray
    extras: str


class Evaluation:
    """Answers for structures from i-PI, which sends cells and positions, but no elements.

    Parameters
    ----------
    stack : the stack
    template : structure with the elements and the periodicity, its atoms in the order of i-PI's input
    source : where the template is from, for messages
    reporter : where warnings go, each once
    guard : what happens where the uncertainty is large

    Attributes
    ----------
    n_answers : number of structures answered
    no_virial : why the stack has no stress of the template, and what to do about it; empty if it has

    Raises
    ------
    ElmlffError
        The stack has no energy, or no uncertainty for a guard, or cannot be applied to the template.
    """

    def __init__(
        self, stack: Stack, template: Atoms, source: str, reporter: Reporter | None = None, guard: Guard = NO_GUARD
    ) -> None:
        self.stack, self.source, self.reporter = stack, source, reporter or Reporter()
        self.template = template.copy()
        self.template.set_constraint()
        self.n_answers = 0
        self.has_warned = False
        self.watch = Watch(guard, self.reporter)
        # Before i-PI is asked for structures, so that a stack that cannot serve is no client that dies.
        found = stack.combine(stack.features([self.template]))
        if found.energy is None:
            raise ConfigError(NO_ENERGY)
        self.watch.check(found)
        self.no_virial = why_no_stress(stack, self.template) if found.stress is None else ""

    def __call__(self, cells: Sequence[np.ndarray], positions: Sequence[np.ndarray]) -> list[Answer]:
        """Return the answers for some structures, which go through the base models together.

        Parameters
        ----------
        cells : (3, 3) each, Bohr, with the cell vectors as columns
        positions : (n_atoms, 3) each, Bohr

        Raises
        ------
        ElmlffError
            The number of atoms is not that of the template, a number is not finite, or the stack cannot be applied.
        UncertainError
            The guard ends it: i-PI gets no answer for these structures.
        """
        structures = [self._structure(cell, rows) for cell, rows in zip(cells, positions, strict=True)]
        if not self.n_answers:
            self._compare(structures[0])
        features = self.stack.features(structures, first=self.n_answers)
        found = self.stack.combine(features, self.n_answers)
        if not self.has_warned and (warning := outside_warning(self.stack, found)):
            self.has_warned = True
            self.reporter.warn(f"{warning}. This is not said again")
        if stop := self.watch.look(found, "structure", self.n_answers):
            raise UncertainError(stop.reason, list(predicted_frames(structures, found))[stop.index])
        self.n_answers += len(structures)
        committee = self._committee(features)
        return [self._answer(features, found, committee, index) for index in range(len(structures))]

    def check_number(self, n_atoms: int) -> None:
        """Raise DataError if i-PI has another number of atoms than the template."""
        if n_atoms != len(self.template):
            raise DataError(
                f"i-PI sends {n_atoms} atoms, but {self.source} has {len(self.template)}: elements are taken from it, "
                "so that it must have the atoms of i-PI's input, in their order. i-PI now waits for another client"
            )

    def _structure(self, cell: np.ndarray, positions: np.ndarray) -> Atoms:
        self.check_number(len(positions))
        if not (np.isfinite(cell).all() and np.isfinite(positions).all()):
            reason = f": the barostat needs a virial, and {self.no_virial}" if self.no_virial else ""
            raise DataError(f"structure {self.n_answers} from i-PI has positions or a cell that are no numbers{reason}")
        atoms = self.template.copy()
        if atoms.pbc.any():  # others have no cell: i-PI's is only a box around the molecule
            atoms.set_cell(cell.T * BOHR)
        atoms.positions[:] = positions * BOHR
        return atoms

    def _compare(self, atoms: Atoms) -> None:
        """Warn if the first structure is not about that of the template: then atoms may be in another order."""
        far = np.flatnonzero(_distances(atoms, self.template) > FAR)
        if len(far):
            self.reporter.warn(
                f"{len(far)} of {len(atoms)} atoms of the first structure from i-PI are more than {FAR:g} Å from where "
                f"they are in {self.source}, the first of them atom {far[0]}, {atoms.symbols[far[0]]}. Elements are "
                "taken from that file: are its atoms in the order of i-PI's input?"
            )

    def _committee(self, features: Features) -> dict[str, np.ndarray]:
        """Return the extras of the base models for all structures of `features`, structures first."""
        found: dict[str, np.ndarray] = {}
        if (energies := committee_energies(self.stack, features)) is not None:
            found["committee_pot"] = energies.T / HARTREE
        if (stresses := base_stresses(features, features.models)) is not None:
            pairs = zip(stresses, features.structures, strict=True)
            found["committee_virial"] = np.array([_virials(each, atoms).reshape(-1, 9) for each, atoms in pairs])
        return found

    def _answer(
        self, features: Features, found: StackPrediction, committee: dict[str, np.ndarray], index: int
    ) -> Answer:
        rows = slice(found.offsets[index], found.offsets[index + 1])
        extras: dict[str, Any] = {name: values[index].tolist() for name, values in committee.items()}
        extras["committee_force"] = (features.forces[:, rows] / FORCE).reshape(len(features.models), -1).tolist()
        if found.forces_std is not None:
            extras["forces_uncertainty"] = (found.forces_std[rows] / FORCE).tolist()
        if found.energy_std is not None:
            extras["energy_uncertainty"] = float(found.energy_std[index] / HARTREE)
        if found.outside is not None:
            extras["outside"] = found.outside[rows].tolist()
        assert found.energy is not None  # as of the template
        virial = np.full((3, 3), np.nan)
        if found.stress is not None:
            virial = _virials(found.stress[index], features.structures[index])
        potential, forces = float(found.energy[index] / HARTREE), found.forces[rows] / FORCE
        return Answer(potential, forces, virial, json.dumps(extras, allow_nan=False))


def _virials(stresses: np.ndarray, atoms: Atoms) -> np.ndarray:
    """Return the virials of stresses (..., 6) in eV/Å³: (..., 3, 3), Hartree; i-PI's sign is that of a pressure."""
    return np.asarray(-atoms.cell.volume / HARTREE * voigt_6_to_full_3x3_stress(stresses))


def _distances(atoms: Atoms, template: Atoms) -> np.ndarray:
    """Return how far each atom is from where it is in the template: (n_atoms,), Å.

    i-PI turns cells, so crystals are compared by fractional coordinates, and all others by distances from the centre.
    """
    if atoms.pbc.all():
        shift = atoms.cell.scaled_positions(atoms.positions) - template.cell.scaled_positions(template.positions)
        return np.asarray(np.linalg.norm((shift - np.round(shift)) @ template.cell.array, axis=1))
    radii = (np.linalg.norm(each.positions - each.positions.mean(axis=0), axis=1) for each in (atoms, template))
    return np.asarray(np.abs(next(radii) - next(radii)))
