"""Graph attention layers that run dense on small structures and sparse on large ones, with the same parameters."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch_geometric.nn import GATConv
from torch_geometric.utils import add_self_loops, softmax

from elmlff_core.graphs.batch import GraphBatch
from elmlff_core.graphs.edge_sums import weighted_sums
from elmlff_core.graphs.edges import Edges

# Above this many atoms the N² attention matrix costs more than sums over edges: with 108 atoms a step on one core takes
# 0.86 times as long with it, with 256 atoms 1.2 times (paper's width).
DENSE_LIMIT = 256


class ResidualGATLayer(nn.Module):
    """One graph attention layer with a residual, ``relu(GAT(x)) + R x`` (Eq. 4).

    Parameters and results equal those of `GATConv` of PyG (Veličković et al., 2018).  On small structures the sums over
    neighbours are masked matrix products over padded batches, which on a CPU is several times faster.  On large
    structures they are sums over edges, without a stored message for each edge, which at 20,000 atoms would fill 20 GB.
    `DenseGATConv` of PyG computes scores from the projected heads, and averages heads after the sums.  A training step
    of 64 structures of 54 atoms took 1.99 s with it, 1.74 s here and 20 s with `GATConv`, on one busy core
    (``benchmarks/gat_step.py``).

    Parameters
    ----------
    n_inputs : width of the input
    n_outputs : width of the output of one head
    heads : number of heads
    concat : whether heads are concatenated or averaged
    residual : whether ``R x`` is added; R is linear if the widths differ, otherwise the identity
    """

    def __init__(self, n_inputs: int, n_outputs: int, heads: int, concat: bool, residual: bool = True) -> None:
        super().__init__()
        self.conv = GATConv(n_inputs, n_outputs, heads=heads, concat=concat)
        self.heads = heads
        self.concat = concat
        self.width = n_outputs * heads if concat else n_outputs
        self.residual: nn.Module | None = None
        if residual:
            self.residual = nn.Identity() if n_inputs == self.width else nn.Linear(n_inputs, self.width)

    def forward(self, x: torch.Tensor, neighbours: torch.Tensor | Edges) -> torch.Tensor:
        """Apply the layer: dense to x (B, N, F) and adjacency (B, N, N) bool, sparse to x (N, F) and edges with loops.

        Adjacency and edges join each atom with itself too.
        """
        attended = self._sparse(x, neighbours) if isinstance(neighbours, Edges) else self._dense(x, neighbours)
        out = torch.relu(attended)
        return out if self.residual is None else out + self.residual(x)

    def _dense(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        projected = self.conv.lin(x).unflatten(-1, (self.heads, -1))  # (B, N, H, C)
        source, target = self._scores(x).transpose(1, 2).split(self.heads, dim=1)  # (B, H, N) each
        scores = F.leaky_relu(target.unsqueeze(-1) + source.unsqueeze(-2), self.conv.negative_slope)  # (B, H, N, N)
        attention = scores.masked_fill(~adjacency.unsqueeze(1), float("-inf")).softmax(dim=-1)
        if self.concat:
            return self._merged((attention @ projected.transpose(1, 2)).transpose(1, 2))
        # The mean over heads and the sum over neighbours are one matrix product, without an array for each head.
        weights = attention.permute(0, 2, 3, 1).flatten(2) / self.heads  # (B, N, N H)
        return weights @ projected.flatten(1, 2) + self.conv.bias

    def _sparse(self, x: torch.Tensor, edges: Edges) -> torch.Tensor:
        projected = self.conv.lin(x).unflatten(-1, (self.heads, -1))  # (N, H, C)
        of_source, of_target = self._scores(x).split(self.heads, dim=-1)  # (N, H) each
        scores = F.leaky_relu(of_target[edges.target] + of_source[edges.source], self.conv.negative_slope)  # (E, H)
        attention = softmax(scores, edges.target, num_nodes=len(x)).T.contiguous()  # (H, E)
        return self._merged(weighted_sums(attention, projected.transpose(0, 1).contiguous(), edges).transpose(0, 1))

    def _scores(self, x: torch.Tensor) -> torch.Tensor:
        """Return the contributions of each atom to the scores, as a source and as a target: (..., 2 H).

        Additive attention, ``e_ij = leaky(s_j + t_i)``, is linear in x before its nonlinearity.  Therefore one product
        with folded weights replaces many smaller ones with the projected heads.
        """
        conv = self.conv
        weight = conv.lin.weight.unflatten(0, (self.heads, -1))  # (H, C, F)
        folded = [torch.einsum("hc,hcf->hf", a.squeeze(0), weight) for a in (conv.att_src, conv.att_dst)]
        return x @ torch.cat(folded).T

    def _merged(self, heads: torch.Tensor) -> torch.Tensor:
        """Concatenate or average heads (..., H, C) and add the bias."""
        merged = heads.flatten(-2) if self.concat else heads.mean(dim=-2)
        return merged + self.conv.bias


class ResidualGATStack(nn.Module):
    """Layers of `ResidualGATLayer`; the outputs of all layers are concatenated, which is jumping knowledge (Eq. 5).

    Parameters
    ----------
    n_inputs : width of the node features
    channels : width of one head of each layer
    heads : number of heads
    n_averaged : number of last layers that average their heads instead of concatenating them
    residual : whether layers have residuals
    """

    def __init__(
        self, n_inputs: int, channels: tuple[int, ...], heads: int, n_averaged: int, residual: bool = True
    ) -> None:
        super().__init__()
        layers: list[ResidualGATLayer] = []
        for index, n_outputs in enumerate(channels):
            concat = index < len(channels) - n_averaged
            width = layers[-1].width if layers else n_inputs
            layers.append(ResidualGATLayer(width, n_outputs, heads, concat, residual))
        self.layers = nn.ModuleList(layers)
        self.width = sum(layer.width for layer in layers)

    def forward(self, x: torch.Tensor, batch: GraphBatch) -> torch.Tensor:
        """Map node features (N, n_inputs) to the outputs of all layers (N, width)."""
        dense = batch.max_atoms <= DENSE_LIMIT
        neighbours = batch.adjacency if dense else edges_with_loops(batch)
        x = batch.pad(x) if dense else x
        outputs = []
        for layer in self.layers:
            x = layer(x, neighbours)
            outputs.append(x)
        joined = torch.cat(outputs, dim=-1)
        return batch.flatten(joined) if dense else joined


def edges_with_loops(batch: GraphBatch) -> Edges:
    """Return the edges of a batch, and one from each atom to itself, sorted by target as sums over them need it."""
    n_atoms = len(batch.atomic_numbers)
    source, target = add_self_loops(batch.edges, num_nodes=n_atoms)[0]
    order = torch.argsort(target, stable=True)
    return Edges(source[order], target[order], n_atoms, n_atoms)
