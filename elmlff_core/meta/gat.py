"""`gat`: the paper's meta-model, a graph attention network over base predictions.

Node features are each base's force vector and the element (Sec. 2.2, 2.3); edges join pairs within the cutoff; eight
attention layers with residuals (Eq. 4) and jumping knowledge (Eq. 5) are averaged over the atoms and mapped to the
forces of all atoms by one linear layer (Eq. 6).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from elmlff_core.errors import ElmlffError
from elmlff_core.features.features import Features
from elmlff_core.graphs.batch import GraphBatch, GraphDataset
from elmlff_core.meta.energy import EnergyMix
from elmlff_core.meta.layers import ResidualGATStack
from elmlff_core.meta.linear import ElementMix
from elmlff_core.meta.options import GATOptions
from elmlff_core.prediction import Prediction
from elmlff_core.protocols import FitRequest


class GATNetwork(nn.Module):
    """Forces (N, 3) in eV/Å from a `GraphBatch`.

    Buffers hold what is fixed before training: the elements, the least-squares mix, and the scales of inputs and
    outputs.  With the ``absolute`` target the mix is zero and the scales are one, as in the paper.
    """

    atomic_numbers: torch.Tensor
    mix: torch.Tensor
    input_scale: torch.Tensor
    spread_scale: torch.Tensor
    output_scale: torch.Tensor

    def __init__(self, options: GATOptions, n_models: int, atomic_numbers: torch.Tensor, n_slots: int) -> None:
        super().__init__()
        self.pooled = options.readout == "pooled"
        self.n_slots = n_slots
        self.register_buffer("atomic_numbers", atomic_numbers)  # (K,) of the elements, ascending
        self.register_buffer("mix", torch.zeros(len(atomic_numbers), n_models))
        self.register_buffer("input_scale", torch.tensor(1.0))
        self.register_buffer("spread_scale", torch.tensor(1.0))
        self.register_buffer("output_scale", torch.tensor(1.0))
        self.corrects = options.target == "correction"
        n_vectors = n_models + 1 if self.corrects else n_models
        n_inputs = 3 * n_vectors + len(atomic_numbers)
        self.stack = ResidualGATStack(
            n_inputs, options.channels, options.heads, options.averaged_layers, options.residual
        )
        self.head = nn.Linear(self.stack.width, 3 * n_slots if self.pooled else 3)

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Forces on all atoms of the batch: (N, 3), eV/Å."""
        element = torch.searchsorted(self.atomic_numbers, batch.atomic_numbers)  # (N,)
        mixed = torch.einsum("nm,nmx->nx", self.mix[element], batch.base_forces)  # (N, 3)
        forces = self._inputs(batch.base_forces, mixed)
        one_hot = nn.functional.one_hot(element, len(self.atomic_numbers)).to(forces.dtype)
        nodes = self.stack(torch.cat([one_hot, forces.flatten(1)], dim=-1), batch)  # (N, width)
        if self.pooled:
            pooled = nodes.unflatten(0, (len(batch.n_atoms), self.n_slots)).mean(dim=1)  # (B, width)
            out = self.head(pooled).view(-1, 3)
        else:
            out = self.head(nodes)
        return mixed + self.output_scale * out

    def _inputs(self, base_forces: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """Force features (N, ?, 3): the bases as they are (absolute), or the mix and each base's deviation from it.

        Good bases differ by little: side by side in one scale, what tells them apart would be lost in what they share.
        """
        if not self.corrects:
            return base_forces
        mixed = mixed.unsqueeze(1)
        return torch.cat([mixed / self.input_scale, (base_forces - mixed) / self.spread_scale], dim=1)


class GATMeta:
    """The paper's meta-model: see the module's text."""

    def __init__(self, options: GATOptions) -> None:
        self.options = options
        self.network: GATNetwork | None = None
        self.template: np.ndarray | None = None
        self.energy = EnergyMix()

    @property
    def n_parameters(self) -> int:
        """Trainable numbers of the network, 0 before it is fitted or loaded."""
        return 0 if self.network is None else sum(p.numel() for p in self.network.parameters())

    def fit(self, request: FitRequest) -> None:
        """Train on ``request.train`` and keep the state with the lowest per-frame RMSE on ``request.valid``."""
        from elmlff_core.training.loop import seeded, train_network

        train = request.train
        self.energy = EnergyMix.fit(train)
        self.template = train.structures[0].numbers.astype(np.int64) if self.options.readout == "pooled" else None
        self._check(train)
        self._check(request.valid)
        seeded(request.seed)
        network = GATNetwork(
            self.options,
            len(train.models),
            torch.from_numpy(np.unique(train.atomic_numbers)),
            0 if self.template is None else len(self.template),
        )
        if self.options.target == "correction":
            _start_at_mix(network, train)
        self.network = train_network(
            network,
            GraphDataset.from_features(train, self.options.cutoff),
            GraphDataset.from_features(request.valid, self.options.cutoff),
            request,
            rotate=_free_to_turn(train) if self.options.rotate == "auto" else self.options.rotate,
        )

    def predict(self, features: Features) -> Prediction:
        """Forces by the network; energies by the mix of aligned base energies."""
        from elmlff_core.training.loop import evaluate_network

        assert self.network is not None, "fit or load first"
        self._check(features)
        forces = evaluate_network(self.network, GraphDataset.from_features(features, self.options.cutoff))
        return Prediction(features.n_atoms, forces.astype(np.float64), self.energy.apply(features))

    def save(self, directory: Path) -> None:
        """Write tensors as safetensors, and the shapes needed to rebuild the network as JSON."""
        assert self.network is not None, "fit or load first"
        shapes = {
            "n_models": self.network.mix.shape[1],
            "atomic_numbers": self.network.atomic_numbers.tolist(),
            "template": None if self.template is None else self.template.tolist(),
        }
        (directory / "meta.json").write_text(json.dumps(shapes))
        tensors = {f"network.{key}": value.cpu().contiguous() for key, value in self.network.state_dict().items()}
        save_file(
            tensors | {k: torch.from_numpy(v) for k, v in self.energy.tensors().items()}, directory / "meta.safetensors"
        )

    def load(self, directory: Path) -> None:
        """Read what `save` wrote."""
        shapes = json.loads((directory / "meta.json").read_text())
        self.template = None if shapes["template"] is None else np.array(shapes["template"], dtype=np.int64)
        self.network = GATNetwork(
            self.options,
            shapes["n_models"],
            torch.tensor(shapes["atomic_numbers"]),
            0 if self.template is None else len(self.template),
        )
        tensors = load_file(directory / "meta.safetensors")
        prefix = "network."
        self.network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        self.energy = EnergyMix.from_tensors({k: v.numpy() for k, v in tensors.items() if k.startswith("energy.")})

    def _check(self, features: Features) -> None:
        """Refuse what the network cannot take: for the pooled head, any other composition or atom order."""
        if self.network is not None:
            known = set(self.network.atomic_numbers.tolist())
            if unknown := sorted(set(features.atomic_numbers.tolist()) - known):
                raise ElmlffError(
                    f"elements with atomic numbers {unknown} were not in the structures the stack learnt from"
                )
        if self.template is None:
            return
        for index, atoms in enumerate(features.structures):
            if not np.array_equal(atoms.numbers, self.template):
                raise ElmlffError(
                    f"structure {index}, {atoms.get_chemical_formula()}, differs in composition or order of atoms from "
                    "the first training structure: the pooled head of 'gat' is tied to one composition and order; "
                    "use the per-atom head, --set meta.readout=atom"
                )


def _free_to_turn(features: Features) -> bool:
    """Whether no structure has a periodic direction that would fix its orientation."""
    return not any(atoms.pbc.any() for atoms in features.structures)


def _start_at_mix(network: GATNetwork, train: Features) -> None:
    """Set the least-squares mix and the scales, and a head of zeros: the network starts as the mix itself."""
    mix = ElementMix.fit(train)
    mixed = mix.apply(train)
    network.mix.copy_(torch.from_numpy(mix.weights))
    if train.models:  # without bases there is nothing to scale: the mix is zero, and the network sees elements alone
        network.input_scale.fill_(float(np.sqrt((mixed**2).mean())))
        network.spread_scale.fill_(float(np.sqrt(((train.forces - mixed) ** 2).mean())) or 1.0)
    network.output_scale.fill_(float(np.sqrt(((train.reference_forces - mixed) ** 2).mean())) or 1.0)
    nn.init.zeros_(network.head.weight)
    nn.init.zeros_(network.head.bias)
