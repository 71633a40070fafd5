"""A training step of `gat`: against the same network of PyG's GATConv, and against its matrix products alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import torch
from measuring import Row, medians, shown
from structures import random_features, slabs
from torch import nn

from elmlff_core.graphs.batch import GraphBatch, GraphDataset
from elmlff_core.meta.gat import GATNetwork
from elmlff_core.meta.options import GATOptions

N_STRUCTURES, N_MODELS = 64, 8
TOLERANCE = 1e-5


class PyGNetwork(nn.Module):
    """The network of `gat` with PyG's own layers, and the same parameters."""

    def __init__(self, network: GATNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        network = self.network
        element = torch.searchsorted(network.atomic_numbers, batch.atomic_numbers)
        one_hot = nn.functional.one_hot(element, len(network.atomic_numbers)).float()
        x, outputs = torch.cat([one_hot, batch.base_forces.flatten(1)], dim=-1), []
        for layer in network.stack.layers:
            x = torch.relu(layer.conv(x, batch.edges)) + layer.residual(x)
            outputs.append(x)
        pooled = torch.cat(outputs, dim=-1).unflatten(0, (len(batch.n_atoms), -1)).mean(dim=1)
        return network.head(pooled).view(-1, 3)


def main() -> None:
    """Check that both give the same numbers, then time both."""
    torch.manual_seed(0)
    features = random_features(slabs(N_STRUCTURES), N_MODELS)
    graphs = GraphDataset.from_features(features, 5.0)
    batch, target = graphs.batch(range(N_STRUCTURES)), graphs.reference_forces
    network = GATNetwork(GATOptions(target="absolute"), N_MODELS, torch.tensor([29]), int(features.n_atoms[0]))
    reference = PyGNetwork(network)
    with torch.no_grad():
        expected = reference(batch)
        difference = float((network(batch) - expected).abs().max() / expected.abs().max())
    assert difference < TOLERANCE, f"the networks differ by {difference:.1e} of the largest force"
    optimiser = torch.optim.Adam(network.parameters())

    def step(forward: nn.Module) -> None:
        optimiser.zero_grad()
        (forward(batch) - target).square().mean().backward()
        optimiser.step()

    times = medians({"here": lambda: step(network), "pyg": lambda: step(reference)}, repeats=5)
    same = f"same numbers to {difference:.0e}"
    name = f"gat step, {N_STRUCTURES} x 54 atoms"
    Row(
        name, "PyG's GATConv", shown(times["here"]), shown(times["pyg"]), times["pyg"] / times["here"], 8.0,
        "at least", same,
    ).print()  # fmt: skip
    floor = sum(product_seconds(*shape) for shape in products(network, batch))
    Row(
        name, "its matrix products alone", shown(times["here"]), shown(floor), times["here"] / floor, 1.7, "at most"
    ).print()


def products(network: GATNetwork, batch: GraphBatch) -> Iterator[tuple[int, int, int, int]]:
    """(count, rows, inner, columns) of every matrix product of a forward pass."""
    n_nodes, size = len(batch.atomic_numbers), batch.max_atoms
    for layer in network.stack.layers:
        width = layer.conv.lin.weight
        yield 1, n_nodes, width.shape[1], width.shape[0]
        if isinstance(layer.residual, nn.Linear):
            yield 1, n_nodes, layer.residual.in_features, layer.residual.out_features
        yield len(batch.n_atoms) * layer.heads, size, size, width.shape[0] // layer.heads
    yield 1, len(batch.n_atoms), network.head.in_features, network.head.out_features


def product_seconds(count: int, rows: int, inner: int, columns: int, repeats: int = 5) -> float:
    """Median seconds of such products forward, and of both gradients."""
    left, right = torch.randn(count, rows, inner), torch.randn(count, inner, columns)
    if count == 1:
        left, right = left[0], right[0]
    result, seconds = left @ right, []
    for _ in range(repeats):
        started = time.perf_counter()
        left @ right
        result @ right.mT
        left.mT @ result
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
