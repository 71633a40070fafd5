"""Time of a training step of `gat`, compared with PyG's GATConv and DenseGATConv, and with its matrix products."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import torch
from measuring import Comparison, medians, shown
from structures import random_features, slabs
from torch import nn
from torch_geometric.nn import DenseGATConv

from elmlff_core.graphs.batch import GraphBatch, GraphDataset
from elmlff_core.meta.gat import GATNetwork
from elmlff_core.meta.layers import ResidualGATLayer
from elmlff_core.meta.options import GATOptions

N_STRUCTURES, N_MODELS = 64, 8
TOLERANCE = 1e-5


class SparseNetwork(nn.Module):
    """The network of `gat` with the sparse layers of PyG and the same parameters."""

    def __init__(self, network: GATNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        network = self.network
        element = torch.searchsorted(network.atomic_numbers, batch.atomic_numbers)
        one_hot = nn.functional.one_hot(element, len(network.atomic_numbers)).float()
        x = torch.cat([one_hot, batch.base_forces.flatten(1)], dim=-1)
        pooled = self.attended(x, batch).unflatten(0, (len(batch.n_atoms), -1)).mean(dim=1)
        return network.head(pooled).view(-1, 3)

    def attended(self, x: torch.Tensor, batch: GraphBatch) -> torch.Tensor:
        """Return the joined outputs of all layers: (N, width)."""
        outputs = []
        for layer in self.network.stack.layers:
            x = torch.relu(layer.conv(x, batch.edges)) + layer.residual(x)
            outputs.append(x)
        return torch.cat(outputs, dim=-1)


class DenseNetwork(SparseNetwork):
    """The network of `gat` with the dense layers of PyG, for padded batches and adjacency matrices."""

    def __init__(self, network: GATNetwork) -> None:
        super().__init__(network)
        self.convs = nn.ModuleList(dense_conv(layer) for layer in network.stack.layers)

    def attended(self, x: torch.Tensor, batch: GraphBatch) -> torch.Tensor:
        """Return the joined outputs of all layers: (N, width)."""
        x, outputs = batch.pad(x), []
        for layer, conv in zip(self.network.stack.layers, self.convs, strict=True):
            x = torch.relu(conv(x, batch.adjacency, add_loop=False)) + layer.residual(x)
            outputs.append(x)
        return batch.flatten(torch.cat(outputs, dim=-1))


def dense_conv(layer: ResidualGATLayer) -> DenseGATConv:
    """Return the dense layer of PyG with the parameters of `layer`."""
    conv = layer.conv
    dense = DenseGATConv(conv.in_channels, conv.out_channels, conv.heads, conv.concat, conv.negative_slope)
    dense.lin.weight, dense.bias = conv.lin.weight, conv.bias
    dense.att_src = nn.Parameter(conv.att_src.detach().unsqueeze(0))
    dense.att_dst = nn.Parameter(conv.att_dst.detach().unsqueeze(0))
    return dense


def main() -> None:
    """Check that all networks give the same forces, then measure the times."""
    torch.manual_seed(0)
    features = random_features(slabs(N_STRUCTURES), N_MODELS)
    graphs = GraphDataset.from_features(features, 5.0)
    batch, target = graphs.batch(range(N_STRUCTURES)), graphs.reference_forces
    network = GATNetwork(GATOptions(target="direct"), N_MODELS, torch.tensor([29]), int(features.n_atoms[0]))
    ways: dict[str, nn.Module] = {"here": network, "sparse": SparseNetwork(network), "dense": DenseNetwork(network)}
    with torch.no_grad():
        expected = network(batch)
        differences = {
            name: float((way(batch) - expected).abs().max() / expected.abs().max()) for name, way in ways.items()
        }
    for name, difference in differences.items():
        assert difference < TOLERANCE, f"{name}: the networks differ by {difference:.1e} of the largest force"
    # Each network has its own optimiser, so that a step includes the update of its own parameters.
    optimisers = {name: torch.optim.Adam(way.parameters()) for name, way in ways.items()}

    def step(name: str) -> None:
        optimisers[name].zero_grad()
        (ways[name](batch) - target).square().mean().backward()
        optimisers[name].step()

    times = medians({name: lambda name=name: step(name) for name in ways}, repeats=5)
    title = f"gat step, {N_STRUCTURES} x 54 atoms"
    for way, against, bound in (("sparse", "PyG's GATConv", 8.0), ("dense", "PyG's DenseGATConv", 1.0)):
        Comparison(
            title, against, shown(times["here"]), shown(times[way]), times[way] / times["here"], bound, "at least",
            f"same numbers to {differences[way]:.0e}",
        ).print()  # fmt: skip
    floor = sum(product_seconds(*shape) for shape in products(network, batch))
    Comparison(
        title, "its matrix products alone", shown(times["here"]), shown(floor), times["here"] / floor, 1.7, "at most"
    ).print()


def products(network: GATNetwork, batch: GraphBatch) -> Iterator[tuple[int, int, int, int]]:
    """Yield (count, rows, inner, columns) of every matrix product of a forward pass."""
    n_nodes, size = len(batch.atomic_numbers), batch.max_atoms
    for layer in network.stack.layers:
        width = layer.conv.lin.weight
        yield 1, n_nodes, width.shape[1], width.shape[0]
        if isinstance(layer.residual, nn.Linear):
            yield 1, n_nodes, layer.residual.in_features, layer.residual.out_features
        yield len(batch.n_atoms) * layer.heads, size, size, width.shape[0] // layer.heads
    yield 1, len(batch.n_atoms), network.head.in_features, network.head.out_features


def product_seconds(count: int, rows: int, inner: int, columns: int, repeats: int = 5) -> float:
    """Return the median seconds of such products, including both gradients."""
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
