"""Pretrained CHGNet in batches: the module of the adapter `chgnet` that runs in a worker without elmlff.

Therefore this file and its imports use only numpy, ase and the packages that CHGNet itself needs.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import GPa

from elmlff_core.arrays import blocks
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.plugins.toolkit import backend_errors, check_elements, fingerprint, in_vacuum
from elmlff_plugins.materials_project import ELEMENTS

if TYPE_CHECKING:
    from elmlff_core.contracts.hookspecs import LoadRequest
    from elmlff_plugins.chgnet.options import CHGNetOptions

ADAPTER = "chgnet"


class CHGNetForceField:
    """A pretrained CHGNet, with the weights of its wheel.

    Parameters
    ----------
    request : request whose options name the version of the weights

    Raises
    ------
    ForceFieldError
        CHGNet cannot be imported or cannot load its weights.
    """

    def __init__(self, request: LoadRequest) -> None:
        self.name, self._describe = request.name, request.descriptors
        options: CHGNetOptions = request.options
        with backend_errors(self.name, ADAPTER, f"load CHGNet {options.version}"), redirect_stdout(io.StringIO()):
            import torch
            from chgnet.model import CHGNet

            on_gpu = torch.cuda.is_available() if options.device == "auto" else options.device == "cuda"
            self._model = CHGNet.load(model_name=options.version, use_device="cuda" if on_gpu else "cpu", verbose=False)
        # An atom without neighbours has an energy and no force, which is what users of isolated atoms expect.
        self._model.graph_converter.set_isolated_atom_response("ignore")
        self._batch_atoms = options.batch_atoms or (1024 if on_gpu else 64)
        self.elements: frozenset[str] | None = frozenset(ELEMENTS)
        self.cutoff: float | None = float(self._model.graph_converter.atom_graph_cutoff)
        self.fingerprint = fingerprint("chgnet/1", "chgnet", None, options.version)

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Predict energies and forces, and stresses if all structures are periodic in three directions."""
        check_elements(structures, self.elements, self.name)
        energy: list[float] = []
        forces: list[np.ndarray] = []
        stress: list[np.ndarray] = []
        descriptors: list[np.ndarray] = []
        for batch, _ in blocks(np.array([len(atoms) for atoms in structures]), self._batch_atoms):
            what = f"structures {batch.start} to {batch.stop - 1}"
            with backend_errors(self.name, ADAPTER, f"evaluate {what}"):
                for atoms, found in zip(structures[batch], self._evaluate(structures[batch])):  # noqa: B905
                    energy.append(float(found["e"]) * len(atoms))  # CHGNet gives energies per atom
                    forces.append(found["f"])
                    stress.append(full_3x3_to_voigt_6_stress(found["s"]) * GPa)
                    if self._describe:
                        descriptors.append(found["atom_fea"])
        has_stress = all(atoms.pbc.all() for atoms in structures)
        return Prediction.from_lists(forces, energy, np.reshape(stress, (-1, 6)) if has_stress else None, descriptors)

    def _evaluate(self, structures: Sequence[Atoms]) -> list[dict[str, np.ndarray]]:
        from pymatgen.core import Lattice, Structure

        graphs = []
        for atoms in structures:
            # CHGNet treats every direction as periodic.
            box = in_vacuum(atoms, float(self.cutoff or 0.0))
            lattice = Lattice(box.cell.array)
            graphs.append(
                self._model.graph_converter(Structure(lattice, box.numbers, box.positions, coords_are_cartesian=True))
            )
        found = self._model.predict_graph(graphs, task="efs", return_atom_feas=self._describe, batch_size=len(graphs))
        return [found] if len(graphs) == 1 else found


def load(request: LoadRequest) -> CHGNetForceField:
    """Load a model in a worker without elmlff, where `request` is an object with the fields of LoadRequest."""
    return CHGNetForceField(request)
