"""Ways of `ways.py` that bring energies into a training: late, or as a further output of `egat`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import torch

from elmlff_core.contracts.features import Features
from elmlff_core.graphs.batch import GraphBatch, GraphDataset
from elmlff_core.graphs.network import NetworkOutputs
from elmlff_core.meta.egat import EGATMeta, EGATNetwork
from elmlff_core.meta.equivariant import ScalarHead
from elmlff_core.meta.training import loop

FIRST_PHASE = 0.7  # share of the steps before energies count for more


@contextmanager
def late_energies(weight: float, n_steps: int) -> Iterator[None]:
    """Weigh energies by `weight` in the last steps of a training of `n_steps`: forces first, then energies too."""
    usual, done = loop.training_loss, 0

    def loss(network: Any, labelled: Any, settings: Any, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal done
        done += 1
        if done > FIRST_PHASE * n_steps:
            settings = settings.model_copy(update={"energy_weight": weight})
        return usual(network, labelled, settings, scale)

    with mock.patch.object(loop, "training_loss", loss):
        yield


class WithEnergy(EGATNetwork):
    """`EGATNetwork` with an energy, which it learns beside the forces; they are not its gradient."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.energy = ScalarHead(self.stack.width, self.stack.width // 2, 1)

    def outputs(self, batch: GraphBatch) -> NetworkOutputs:
        """Return the forces, and the energy (B,), eV, less the linear combination."""

        def readout(scalars: torch.Tensor, vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return *self.head(scalars, vectors), self.energy(scalars, vectors)

        forces, of_atoms = self._forces(batch, readout)
        energy = of_atoms.new_zeros(len(batch.n_atoms)).index_add(0, batch.structure_index, of_atoms.squeeze(1))
        return NetworkOutputs(forces, self.output_scale * energy)


@contextmanager
def learning_energies() -> Iterator[None]:
    """Let `egat` learn energies as a further output."""
    usual = EGATMeta._graphs

    def graphs(meta: EGATMeta, features: Features) -> GraphDataset:
        combined = meta.energy.apply(features)
        reference = None if features.reference is None else features.reference.energy
        if combined is None or reference is None:
            return usual(meta, features)
        return replace(usual(meta, features), reference_energy=torch.from_numpy(reference - combined).float())

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(EGATMeta, "_graphs", graphs))
        patches.enter_context(mock.patch.object(EGATMeta, "_build", lambda meta: WithEnergy(*meta._arguments())))
        yield
