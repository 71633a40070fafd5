"""Frozen Deep Potentials: the module of the adapter `dp` that runs in a worker without elmlff, as one with TensorFlow.

Therefore this file and its imports use only numpy, ase and DeePMD-kit.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import ForceFieldError
from elmlff_core.plugins.toolkit import backend_errors, check_elements, existing_checkpoint, fingerprint, in_vacuum
from elmlff_plugins.deepmd.neighbours import CrowdingCheck

if TYPE_CHECKING:
    from elmlff_core.contracts.hookspecs import LoadRequest

ADAPTER = "dp"
TENSORFLOW = "deepmd-tensorflow"  # the environment in which models of the TensorFlow backend run


class DeepMDForceField:
    """A frozen Deep Potential.

    Parameters
    ----------
    request : request with a checkpoint ``.pth`` or ``.pt`` (PyTorch), or ``.pb`` where TensorFlow is installed

    Raises
    ------
    ForceFieldError
        DeePMD-kit cannot load the checkpoint.
    """

    def __init__(self, request: LoadRequest) -> None:
        self.name, self._describe = request.name, request.descriptors
        checkpoint = existing_checkpoint(request.checkpoint, self.name, ADAPTER)
        with backend_errors(self.name, ADAPTER, f"load {checkpoint}"):
            self._potential = _load_potential(checkpoint, self.name)
            self._type_of = {symbol: index for index, symbol in enumerate(self._potential.get_type_map())}
            self.cutoff: float | None = float(self._potential.get_rcut())
            definition = self._potential.get_model_def_script()
        self._warn_if_crowded = CrowdingCheck(self.name, definition, list(self._type_of), self.cutoff)
        self.elements: frozenset[str] | None = frozenset(self._type_of)
        self.fingerprint = deepmd_fingerprint(request)

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Predict energies and forces, and stresses if all structures are periodic in three directions.

        Structures with the same atoms are evaluated by DeePMD-kit in one batch.
        """
        check_elements(structures, self.elements, self.name)
        assert self.cutoff is not None
        self._warn_if_crowded(structures)
        groups: dict[tuple[bool, bytes], list[int]] = defaultdict(list)
        for index, atoms in enumerate(structures):
            groups[bool(atoms.pbc.any()), atoms.numbers.tobytes()].append(index)
        energy = np.zeros(len(structures))
        forces: list[np.ndarray] = [np.zeros((0, 3))] * len(structures)
        stress = np.zeros((len(structures), 6))
        descriptors: list[np.ndarray] = [np.zeros((0, 0))] * len(structures) if self._describe else []
        for (periodic, _), members in groups.items():
            group = [in_vacuum(structures[i], self.cutoff) if periodic else structures[i] for i in members]
            with backend_errors(self.name, ADAPTER, f"evaluate structure {members[0]} and {len(members) - 1} like it"):
                energies, all_forces, virials, described = self._evaluate(group, periodic)
            energy[members] = energies
            for row, index in enumerate(members):
                forces[index] = all_forces[row]
                if described is not None:
                    descriptors[index] = described[row]
                if periodic:
                    stress[index] = full_3x3_to_voigt_6_stress(-virials[row] / group[row].get_volume())
        has_stress = all(atoms.pbc.all() for atoms in structures)
        return Prediction.from_lists(forces, energy, stress if has_stress else None, descriptors)

    def _evaluate(
        self, group: Sequence[Atoms], periodic: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Return what is predicted of structures with the same atoms.

        Energies (n,), forces (n, n_atoms, 3), virials (n, 3, 3), and descriptors (n, n_atoms, n_numbers) if asked for.
        """
        n, n_atoms = len(group), len(group[0])
        coordinates = np.stack([atoms.positions for atoms in group]).reshape(n, -1)
        cells = np.stack([atoms.cell.array for atoms in group]).reshape(n, 9) if periodic else None
        types = [self._type_of[symbol] for symbol in group[0].get_chemical_symbols()]
        energies, forces, virials = self._potential.eval(coordinates, cells, types)[:3]
        virials = virials.reshape(n, 3, 3)  # DeePMD-kit does not symmetrise them
        virials = 0.5 * (virials + virials.transpose(0, 2, 1))
        described = None
        if self._describe:
            described = self._potential.eval_descriptor(coordinates, cells, types).reshape(n, n_atoms, -1)
        return energies.reshape(n), forces.reshape(n, n_atoms, 3), virials, described


def _load_potential(checkpoint: Path, model: str) -> Any:
    """Load a checkpoint with DeePMD-kit, without its banners."""
    # Its messages on threads and batch sizes would appear in the middle of the output for the user.
    logging.getLogger("deepmd").setLevel(logging.ERROR)
    from deepmd.infer import DeepPot

    try:
        return DeepPot(str(checkpoint))
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "tensorflow":
            raise ForceFieldError(
                f"model '{model}': {checkpoint.name} is a TensorFlow model, but TensorFlow is not installed here: make "
                f"an environment with it, `elmlff env create {TENSORFLOW}`, and run the model there, "
                f"`--set models.{model}.python=env:{TENSORFLOW}`. Do not convert it: what `dp convert-backend` "
                "makes of se_e3 has other forces"
            ) from error
        raise


def deepmd_fingerprint(request: LoadRequest) -> str:
    """Return the fingerprint of a model without importing DeePMD-kit."""
    return fingerprint("dp/1", "deepmd-kit", existing_checkpoint(request.checkpoint, request.name, ADAPTER))


def load(request: LoadRequest) -> DeepMDForceField:
    """Load a model in a worker without elmlff, where `request` is an object with the fields of LoadRequest."""
    return DeepMDForceField(request)
