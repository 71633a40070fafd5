"""Pretrained SevenNet in batches: the module of the adapter `sevenn` that runs in a worker without elmlff.

Therefore this file and its imports use only numpy, ase and the packages that SevenNet itself needs.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from elmlff_core.arrays import blocks
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import ForceFieldError, did_you_mean
from elmlff_core.plugins.toolkit import backend_errors, check_elements, fingerprint

if TYPE_CHECKING:
    from elmlff_core.contracts.hookspecs import LoadRequest
    from elmlff_plugins.sevenn.options import SevenNetOptions

ADAPTER = "sevenn"
# SevenNet gives minus the stress, in the order xx yy zz xy yz xz.
VOIGT = [0, 1, 2, 4, 5, 3]
READOUT = "reduce_input_to_hidden"  # the first layer after the features of atoms are complete


class SevenNetForceField:
    """A pretrained SevenNet; the weights of some models come with its wheel, others are downloaded by SevenNet.

    Parameters
    ----------
    request : request whose options name the model

    Raises
    ------
    ForceFieldError
        SevenNet cannot be imported or cannot load its weights, or the model has no such `modal`.
    """

    def __init__(self, request: LoadRequest) -> None:
        self.name, self._describe = request.name, request.descriptors
        options: SevenNetOptions = request.options
        with backend_errors(self.name, ADAPTER, f"load SevenNet {options.model}"):
            import torch
            from sevenn.util import load_checkpoint, pretrained_name_to_path

            on_gpu = torch.cuda.is_available() if options.device == "auto" else options.device == "cuda"
            self._device = torch.device("cuda" if on_gpu else "cpu")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on accelerators that could be installed
                # By its path: a name alone would also mean a file in the current folder, a pickle of whoever made it.
                self._model = load_checkpoint(pretrained_name_to_path(options.model)).build_model()
            self._model.eval_type_map = torch.tensor(True)
            self._model.set_is_batch_data(True)
            self._model.to(self._device).eval()
            if self._describe:
                self._model.get_submodule(READOUT).register_forward_pre_hook(self._keep)
        self._modal = _modal(options, self._model.modal_map or {}, self.name)
        self._batch_atoms = options.batch_atoms or (1024 if on_gpu else 64)
        self.elements: frozenset[str] | None = frozenset(chemical_symbols[number] for number in self._model.type_map)
        self.cutoff: float | None = float(self._model.cutoff)
        self.fingerprint = fingerprint("sevenn/1", "sevenn", None, options.model, options.modal)

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Predict energies and forces, and stresses if all structures are periodic in three directions."""
        check_elements(structures, self.elements, self.name)
        energy, forces, stress = [np.zeros(0)], [np.zeros((0, 3))], [np.zeros((0, 6))]
        descriptors: list[np.ndarray] = []
        n_atoms = np.array([len(atoms) for atoms in structures], dtype=np.int64)
        for batch, _ in blocks(n_atoms, self._batch_atoms):
            what = f"structures {batch.start} to {batch.stop - 1}"
            with backend_errors(self.name, ADAPTER, f"evaluate {what}"):
                found = self._evaluate(structures[batch])
            energy.append(found["inferred_total_energy"])
            forces.append(found["inferred_force"])
            stress.append(-found["inferred_stress"][:, VOIGT])
            if self._describe:
                descriptors.append(self._scalars)
        has_stress = all(atoms.pbc.all() for atoms in structures)
        joined = [np.concatenate(parts).astype(np.float64) for parts in (energy, forces, stress)]
        described = np.concatenate(descriptors) if descriptors else None
        return Prediction(n_atoms, joined[1], joined[0], joined[2] if has_stress else None, described)

    def _keep(self, _: Any, given: Any) -> None:
        """Keep the last scalars of the network, of each atom of a batch, from which it computes the energy."""
        self._scalars: np.ndarray = given[0]["x"].detach().cpu().numpy().astype(np.float32)

    def _evaluate(self, structures: Sequence[Atoms]) -> dict[str, np.ndarray]:
        from sevenn import _keys as keys
        from sevenn.atom_graph_data import AtomGraphData
        from sevenn.train.dataload import unlabeled_atoms_to_graph
        from torch_geometric.loader.dataloader import Collater

        graphs = []
        for atoms in structures:
            arrays = unlabeled_atoms_to_graph(atoms, self.cutoff, with_shift=True)
            graph = AtomGraphData.from_numpy_dict(arrays)
            if self._modal is not None:
                graph[keys.DATA_MODALITY] = self._modal
            graphs.append(graph)
        output: Any = self._model(Collater([])(graphs).to(self._device))
        names = (keys.PRED_TOTAL_ENERGY, keys.PRED_FORCE, keys.PRED_STRESS)
        return {name: output[name].detach().cpu().numpy() for name in names}


def _modal(options: SevenNetOptions, known: dict[str, Any], model: str) -> str | None:
    """Return the level of theory to evaluate, None for a network of one; ForceFieldError if there is no such one."""
    if options.modal is None and not known:
        return None
    if options.modal not in known:
        listed = f"it has {', '.join(known)}" if known else "it has one level of theory: leave 'modal' out"
        raise ForceFieldError(
            f"model '{model}': SevenNet {options.model} has no modal '{options.modal}': {listed}"
            f"{did_you_mean(options.modal or '', known)}"
        )
    return options.modal


def load(request: LoadRequest) -> SevenNetForceField:
    """Load a model in a worker without elmlff, where `request` is an object with the fields of LoadRequest."""
    return SevenNetForceField(request)
