"""Time to make a batch, compared with a training step of `gat` and `egat` on it, for structures of 54 atoms."""

from __future__ import annotations

import torch
from measuring import Comparison, medians, shown
from structures import random_features, slabs

from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.meta.egat import EGATNetwork
from elmlff_core.meta.gat import GATNetwork
from elmlff_core.meta.options import EGATOptions, GATOptions

N_MODELS = 8


def main() -> None:
    """Measure with the default batch size of `egat`, and a quarter of the default of `gat`."""
    numbers = torch.tensor([29])
    networks: dict[str, tuple[torch.nn.Module, int]] = {
        "gat": (GATNetwork(GATOptions(), N_MODELS, numbers, 54), 64),
        "egat": (EGATNetwork(EGATOptions(), N_MODELS, numbers, 40.0), 8),
    }
    for name, (network, size) in networks.items():
        features = random_features(slabs(4 * size), N_MODELS)
        graphs = GraphDataset.from_features(features, 5.0, images=name == "egat")
        order = torch.randperm(len(graphs))[:size]
        batch = graphs.batch(order)

        def data(graphs: GraphDataset = graphs, order: torch.Tensor = order) -> None:
            graphs.batch(order)
            graphs.reference_forces[graphs.rows(order)]

        def step(network: torch.nn.Module = network, batch: object = batch) -> None:
            network(batch).square().mean().backward()

        times = medians({"data": data, "network": step})
        Comparison(
            f"batch of {size} for {name}", "forward and backward", shown(times["data"]), shown(times["network"]),
            times["data"] / times["network"], 0.05, "at most",
        ).print()  # fmt: skip


if __name__ == "__main__":
    main()
