"""Sums over edges and products along them: values, derivatives of first and second order, threads and both ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elmlff_core.graphs import products as module
from elmlff_core.graphs import threads
from elmlff_core.graphs.edge_sums import products, weighted_sums
from elmlff_core.graphs.edges import Edges
from elmlff_core.graphs.products import products_of_rows

HEADS, CHANNELS, N_TARGETS, N_SOURCES, N_EDGES = 2, 3, 6, 7, 25


@pytest.fixture
def edges() -> Edges:
    """Edges of which some are there twice; one atom is no source, and the last one is no target."""
    rng = np.random.default_rng(0)
    source, target = rng.integers(1, N_SOURCES, N_EDGES), np.sort(rng.integers(0, N_TARGETS - 1, N_EDGES))
    return Edges(torch.from_numpy(source), torch.from_numpy(target), N_TARGETS, N_SOURCES)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).requires_grad_()


@pytest.fixture(params=[0, 2**13], ids=["compiled", "gathered"])
def each_way(request, monkeypatch):
    monkeypatch.setattr(module, "COMPILED_PRODUCTS", request.param)


@pytest.mark.usefixtures("each_way")
def test_they_are_the_sums_and_products_edge_by_edge(edges):
    weights, values, queries = random(HEADS, N_EDGES), random(HEADS, N_SOURCES, CHANNELS), random(HEADS, N_TARGETS, 3)
    sums = torch.zeros(HEADS, N_TARGETS, CHANNELS, dtype=torch.float64)
    for edge in range(N_EDGES):
        source, target = int(edges.source[edge]), int(edges.target[edge])
        sums[:, target] += weights[:, edge, None] * values[:, source]
        expected = (queries[:, target] * values[:, source]).sum(-1)
        assert torch.allclose(products(queries, values, edges)[:, edge], expected, atol=1e-14)
    assert torch.allclose(weighted_sums(weights, values, edges), sums, atol=1e-14)


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_their_derivatives(edges, check):
    values = random(HEADS, N_SOURCES, CHANNELS, seed=1)
    assert check(lambda w, v: weighted_sums(w, v, edges), (random(HEADS, N_EDGES), values))
    assert check(lambda q, v: products(q, v, edges), (random(HEADS, N_TARGETS, CHANNELS), values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_and_gathered_products_are_equal(edges, dtype, monkeypatch):
    queries = random(HEADS, N_TARGETS, CHANNELS).detach().to(dtype)
    values = random(HEADS, N_SOURCES, CHANNELS, seed=1).detach().to(dtype)
    assert module._compiled(CHANNELS) is not None, "Numba is not installed"
    monkeypatch.setattr(module, "GATHERED_EDGES", 4)
    gathered = products_of_rows(queries, values, edges)
    monkeypatch.setattr(module, "COMPILED_PRODUCTS", 0)
    monkeypatch.setattr(module, "_gathered", None)
    compiled = products_of_rows(queries, values, edges)
    assert torch.allclose(compiled, gathered, atol=10 * torch.finfo(dtype).eps)


def test_threads_share_the_edges(edges, monkeypatch):
    queries, values = random(HEADS, N_TARGETS, CHANNELS), random(HEADS, N_SOURCES, CHANNELS, seed=1)
    monkeypatch.setattr(module, "COMPILED_PRODUCTS", 0)
    alone = products_of_rows(queries, values, edges)
    monkeypatch.setattr(threads, "PRODUCTS_OF_A_THREAD", 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert torch.equal(products_of_rows(queries, values, edges), alone)


@pytest.mark.usefixtures("each_way")
def test_no_edges_give_zeros():
    none = torch.zeros(0, dtype=torch.int64)
    edges = Edges(none, none, N_TARGETS, N_SOURCES)
    values = random(HEADS, N_SOURCES, CHANNELS)
    sums = weighted_sums(torch.zeros(HEADS, 0, dtype=torch.float64), values, edges)
    assert torch.equal(sums, torch.zeros(HEADS, N_TARGETS, CHANNELS, dtype=torch.float64))
    assert products(random(HEADS, N_TARGETS, CHANNELS), values, edges).shape == (HEADS, 0)
