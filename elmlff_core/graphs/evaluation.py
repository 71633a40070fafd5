"""Evaluation of a network over many structures, in batches; no training code is imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from elmlff_core.arrays import blocks, new_array
from elmlff_core.graphs.batch import GraphBatch, GraphDataset

# Atoms in one evaluation batch: few stay near a processor's cache, which halves the time of `egat`; GPUs want many.
EVALUATION_ATOMS = {"cpu": 1024, "cuda": 8192}


def evaluate_network(
    network: nn.Module, graphs: GraphDataset, of: Callable[[Any, GraphBatch], torch.Tensor] | None = None
) -> np.ndarray:
    """Forces of all structures by `network`, in batches: (N, 3) float64, eV/Å; or what else `of` takes from it."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    found: np.ndarray | None = None
    with torch.no_grad():
        for structures, rows in blocks(graphs.n_atoms.numpy(), EVALUATION_ATOMS.get(device.type, 1024)):
            batch = graphs.batch(torch.arange(structures.start, structures.stop)).to(device)
            part = (network(batch) if of is None else of(network, batch)).cpu().numpy()
            if found is None:
                found = new_array((len(graphs.atomic_numbers), *part.shape[1:]))
            found[rows] = part
    network.train(was_training)
    assert found is not None, "there are no structures"
    return found
