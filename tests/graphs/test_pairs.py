"""Attention over neighbours, compared with loops over edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.graphs.pairs_of_batch import WholePairs, make_pairs
from elmlff_core.graphs.radial import RadialBasis
from tests.graphs.test_batch import mixed_features

HEADS, CHANNELS, CUTOFF = 3, 2, 4.0


@pytest.fixture
def batch():
    graphs = GraphDataset.from_features(mixed_features(), CUTOFF, images=True, dtype=torch.float64)
    return graphs.batch([3, 1, 2, 0])


@pytest.fixture
def basis():
    return RadialBasis(4, CUTOFF).double()


def random(*shape):
    return torch.from_numpy(np.random.default_rng(len(shape)).normal(size=shape))


def test_edges_are_sorted_by_target(batch):
    source, target = batch.edges
    keys = target * len(batch.atomic_numbers) + source
    assert (keys.diff() >= 0).all()


def test_against_loops_over_edges(batch, basis):
    made = make_pairs(batch, basis)
    assert isinstance(made, WholePairs)
    pairs, n = made.pairs, len(batch.atomic_numbers)
    queries, keys, scalars = (random(HEADS, n, CHANNELS) + shift for shift in (0.0, 0.3, -0.2))
    vectors = random(3, HEADS, n, CHANNELS)
    weight, bias = random(HEADS, 4), random(HEADS)
    values = pairs.radial_values(weight, bias)
    exponentials, total = pairs.attention(queries, keys, values)
    weights = exponentials / total[:, batch.edges[1]]
    # The same sums, edge by edge.
    distances = batch.vectors.norm(dim=1)
    radial, envelope = basis(distances)
    raw = torch.zeros(HEADS, len(distances), dtype=torch.float64)
    for e, (source, target) in enumerate(batch.edges.T.tolist()):
        score = (queries[:, target] * keys[:, source]).sum(-1) + weight @ radial[:, e] + bias
        raw[:, e] = envelope[e] * torch.exp(score)
    expected = torch.zeros_like(raw)
    sums, along = torch.zeros(2, HEADS, n, CHANNELS, dtype=torch.float64)
    pointing = torch.zeros_like(vectors)
    for e, (source, target) in enumerate(batch.edges.T.tolist()):
        expected[:, e] = raw[:, e] / (1 + raw[:, batch.edges[1] == target].sum(1))
        w, unit = expected[:, e, None], batch.vectors[e] / distances[e]
        sums[:, target] += w * scalars[:, source]
        pointing[:, :, target] += unit[:, None, None] * w * scalars[:, source]
        along[:, target] += w * torch.einsum("x,xhc->hc", unit, vectors[:, :, source])
    assert torch.allclose(weights, expected, atol=1e-12)
    assert torch.allclose(pairs.sum(weights, scalars), sums, atol=1e-12)
    assert torch.allclose(pairs.sum_along_units(weights, scalars.unsqueeze(0)), pointing, atol=1e-12)
    assert torch.allclose(pairs.sum_along_units(weights, vectors).sum(0), along, atol=1e-12)


def test_basis_vanishes_smoothly_at_the_cutoff():
    basis = RadialBasis(5, 3.0).double()
    distances = torch.tensor([3.0 - 1e-3, 3.0], dtype=torch.float64, requires_grad=True)
    values, envelope = basis(distances)
    (slope,) = torch.autograd.grad(values.sum() + envelope.sum(), distances)
    assert values[:, 1].abs().max() == 0
    assert slope[1] == 0
    assert 0 < abs(slope[0]) < 1e-6
