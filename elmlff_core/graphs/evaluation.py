"""Evaluation of a network over many structures, in batches; no training code is imported."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from elmlff_core.arrays import blocks, new_array
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.graphs.network import Network, NetworkOutputs

# Atoms in one evaluation batch: few stay near a processor's cache, which halves the time of `egat`; GPUs want many.
EVALUATION_ATOMS = {"cpu": 1024, "cuda": 8192}


def evaluate_network(
    network: Network, graphs: GraphDataset, of: Callable[[NetworkOutputs], torch.Tensor] | None = None
) -> np.ndarray:
    """Forces of all structures by `network`, in batches: (N, 3) float64, eV/Å.

    With `of`, what it picks from the network's outputs on a batch takes the place of the forces; one row for each atom.
    """
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    found: np.ndarray | None = None
    with torch.no_grad():
        for structures, rows in blocks(graphs.n_atoms.numpy(), EVALUATION_ATOMS.get(device.type, 1024)):
            batch = graphs.batch(torch.arange(structures.start, structures.stop)).to(device)
            part = (network(batch) if of is None else of(network.outputs(batch))).cpu().numpy()
            if found is None:
                found = new_array((len(graphs.atomic_numbers), *part.shape[1:]))
            found[rows] = part
    network.train(was_training)
    assert found is not None, "there are no structures"
    return found
