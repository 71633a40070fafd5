"""Sums over edges in blocks: values and gradients equal those of the explicit sum."""

import pytest
import torch

from elmlff_core.graphs import weighted_sum as module
from elmlff_core.graphs.weighted_sum import weighted_sum


@pytest.fixture
def graph() -> tuple[torch.Tensor, ...]:
    """Seven atoms with 25 edges, some of them twice; one atom is no source, and one is no target."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(1, 7, (25,), generator=generator)
    target = torch.randint(0, 6, (25,), generator=generator)
    weights = torch.randn(25, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    values = torch.randn(7, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    return weights, values, source, target


@pytest.mark.parametrize("block", [1, 6 * 4, 2**22])  # one edge, four edges, all at once
def test_it_is_the_sum_edge_by_edge(graph, monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK_NUMBERS", block)
    weights, values, source, target = graph
    expected = torch.zeros_like(values)
    for edge in range(25):
        expected[target[edge]] += weights[edge, :, None] * values[source[edge]]
    assert torch.allclose(weighted_sum(*graph), expected, atol=1e-14)
    assert torch.autograd.gradcheck(lambda w, v: weighted_sum(w, v, source, target), (weights, values))


def test_no_edges_give_zeros(graph):
    _, values, source, target = graph
    found = weighted_sum(torch.zeros(0, 2, dtype=torch.float64), values, source[:0], target[:0])
    assert torch.equal(found, torch.zeros_like(values))
