"""Sums over neighbours: the dense and the sparse form, compared with loops over edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from elmlff_core.graphs import pairs_of_batch
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.graphs.pairs import DensePairs, SparsePairs
from elmlff_core.graphs.pairs_of_batch import make_pairs
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


def edges_of(pairs, values, batch):
    """Return per-pair values of either form as (E, H)."""
    if isinstance(pairs, SparsePairs):
        return values
    source, target = batch.edges
    return values[batch.structure_index[target], :, batch.slot[target], batch.slot[source]]


@pytest.mark.parametrize("dense", [True, False])
def test_against_loops_over_edges(batch, basis, dense):
    made = make_pairs(batch, basis, dense)
    assert isinstance(made, DensePairs if dense else SparsePairs)
    n = len(batch.atomic_numbers)
    queries, keys, scalars = (random(n, HEADS, CHANNELS) + shift for shift in (0.0, 0.3, -0.2))
    vectors = random(n, 3, HEADS, CHANNELS)
    projection = random(HEADS, 4)
    weights = made.attention(made.scores(queries, keys) + made.radial_values(projection))
    # The same sums, edge by edge.
    distances = batch.vectors.norm(dim=1)
    radial, envelope = basis(distances)
    raw = torch.zeros(len(distances), HEADS, dtype=torch.float64)
    for e, (source, target) in enumerate(batch.edges.T.tolist()):
        raw[e] = envelope[e] * torch.exp((queries[target] * keys[source]).sum(-1) + projection @ radial[e])
    expected = torch.zeros_like(raw)
    sums = {name: torch.zeros(n, *shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    for e, (source, target) in enumerate(batch.edges.T.tolist()):
        expected[e] = raw[e] / (1 + raw[batch.edges[1] == target].sum(0))
        w, unit = expected[e][:, None], batch.vectors[e] / distances[e]
        sums["sum"][target] += w * vectors[source]
        sums["along_units"][target] += unit[:, None, None] * w * scalars[source]
        sums["project"][target] += w * torch.einsum("x,xhc->hc", unit, vectors[source])
    assert torch.allclose(edges_of(made, weights, batch), expected, atol=1e-12)
    directed = made.directed(weights)
    assert torch.allclose(made.sum(weights, vectors), sums["sum"], atol=1e-12)
    assert torch.allclose(made.along_units(directed, scalars), sums["along_units"], atol=1e-12)
    assert torch.allclose(made.project(directed, vectors), sums["project"], atol=1e-12)


SHAPES = {"sum": (3, HEADS, CHANNELS), "along_units": (3, HEADS, CHANNELS), "project": (HEADS, CHANNELS)}


def test_size_and_images_choose_the_form(batch, basis, monkeypatch):
    assert isinstance(make_pairs(batch, basis), DensePairs)
    assert isinstance(make_pairs(replace(batch, multiple=True), basis), SparsePairs)
    monkeypatch.setattr(pairs_of_batch, "DENSE_LIMIT", batch.max_atoms - 1)
    assert isinstance(make_pairs(batch, basis), SparsePairs)


def test_basis_vanishes_smoothly_at_the_cutoff():
    basis = RadialBasis(5, 3.0).double()
    distances = torch.tensor([3.0 - 1e-3, 3.0], dtype=torch.float64, requires_grad=True)
    values, envelope = basis(distances)
    (slope,) = torch.autograd.grad(values.sum() + envelope.sum(), distances)
    assert values[1].abs().max() == 0
    assert slope[1] == 0
    assert 0 < abs(slope[0]) < 1e-6
