"""Evaluation of a network on many structures, in batches; no training code is imported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from elmlff_core.arrays import blocks, new_array
from elmlff_core.graphs.batch import GraphBatch, GraphDataset
from elmlff_core.graphs.network import OF_ATOMS, OUTPUTS, Network

# Atoms in one evaluation batch.  Small batches fit into the cache of a CPU, which halves the time of `egat`; GPUs are
# fastest with large batches.
EVALUATION_ATOMS = {"cpu": 1024, "cuda": 8192}


def evaluate_network(network: Network, graphs: GraphDataset) -> np.ndarray:
    """Return the forces of `network` on all structures, evaluated in batches: (N, 3) float64, eV/Å."""
    found = new_array((len(graphs.atomic_numbers), 3))
    with _evaluating(network):
        for _, rows, batch in _batches(network, graphs):
            found[rows] = network.predicted(batch, forces_only=True).forces.cpu().numpy()
    return found


def evaluate_outputs(network: Network, graphs: GraphDataset) -> dict[str, np.ndarray]:
    """Return all outputs of `network` on all structures, evaluated in batches, by their names in `NetworkOutputs`.

    They are float64.  What the network does not give is left out.
    """
    found: dict[str, np.ndarray] = {}
    with _evaluating(network):
        for structures, rows, batch in _batches(network, graphs):
            outputs = network.predicted(batch)
            for name in OUTPUTS:
                if (value := getattr(outputs, name)) is None:
                    continue
                if name not in found:
                    n_rows = len(graphs.atomic_numbers if name in OF_ATOMS else graphs.n_atoms)
                    found[name] = new_array((n_rows, *value.shape[1:]))
                found[name][rows if name in OF_ATOMS else structures] = value.cpu().numpy()
    assert found, "there are no structures"
    return found


@contextmanager
def _evaluating(network: Network) -> Iterator[None]:
    """Put `network` into the mode of evaluation, and take no gradients."""
    was_training = network.training
    if was_training:  # switching takes as long as a small structure
        network.eval()
    with torch.no_grad():
        yield
    if was_training:
        network.train()


def _batches(network: Network, graphs: GraphDataset) -> Iterator[tuple[slice, slice, GraphBatch]]:
    """Yield the structures, the rows and the graph of each batch, on the device of the network."""
    device = next(network.parameters()).device
    for structures, rows in blocks(graphs.n_atoms.numpy(), EVALUATION_ATOMS.get(device.type, EVALUATION_ATOMS["cpu"])):
        yield structures, rows, graphs.batch(torch.arange(structures.start, structures.stop)).to(device)
