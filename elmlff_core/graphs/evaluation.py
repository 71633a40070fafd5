"""Evaluation of a network on many structures, in batches; no training code is imported."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from elmlff_core.arrays import blocks, new_array
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.graphs.network import Network, NetworkOutputs

# Atoms in one evaluation batch.  Small batches fit into the cache of a CPU, which halves the time of `egat`; GPUs are
# fastest with large batches.
EVALUATION_ATOMS = {"cpu": 1024, "cuda": 8192}


def evaluate_network(
    network: Network, graphs: GraphDataset, of: Callable[[NetworkOutputs], torch.Tensor] | None = None
) -> np.ndarray:
    """Return the forces of `network` on all structures, evaluated in batches: (N, 3) float64, eV/Å.

    If `of` is given, it is applied to the outputs of each batch, and its result, one row per atom, is returned instead.
    """
    device = next(network.parameters()).device
    was_training = network.training
    if was_training:  # switching takes as long as a small structure
        network.eval()
    found: np.ndarray | None = None
    with torch.no_grad():
        for structures, rows in blocks(graphs.n_atoms.numpy(), EVALUATION_ATOMS.get(device.type, 1024)):
            batch = graphs.batch(torch.arange(structures.start, structures.stop)).to(device)
            outputs = network.predicted(batch, forces_only=of is None)
            part = (outputs.forces if of is None else of(outputs)).cpu().numpy()
            if found is None:
                found = new_array((len(graphs.atomic_numbers), *part.shape[1:]))
            found[rows] = part
    if was_training:
        network.train()
    assert found is not None, "there are no structures"
    return found
