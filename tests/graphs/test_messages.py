"""Messages by compiled loops: what PyTorch composes, and its first derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from elmlff_core.graphs import messages as module
from elmlff_core.graphs import pairs as pairs_module
from elmlff_core.graphs import threads
from elmlff_core.graphs.edges import Edges
from elmlff_core.graphs.messages import can_be_compiled, messages
from elmlff_core.graphs.pairs import Pairs

HEADS, CHANNELS = 2, 4  # as in `test_blocked_pairs`, so that the loops are compiled once for both
N_TARGETS, N_SOURCES, N_EDGES, N_RADIAL = 6, 7, 25, 4
WIDTH, GAIN = HEADS * CHANNELS, 1.7


@pytest.fixture
def edges() -> Edges:
    """Edges of which some are there twice; one atom is no source, and the last one is no target."""
    rng = np.random.default_rng(0)
    source, target = rng.integers(1, N_SOURCES, N_EDGES), np.sort(rng.integers(0, N_TARGETS - 1, N_EDGES))
    return Edges(torch.from_numpy(source), torch.from_numpy(target), N_TARGETS, N_SOURCES)


def inputs(with_vectors: bool = True, n_edges: int = N_EDGES) -> list[torch.Tensor]:
    """Return random queries, values, vectors, what the distance gives, logarithms of the envelope, and units."""
    rng = np.random.default_rng(1)
    shapes = [
        (N_TARGETS, WIDTH), (N_SOURCES, 3 * WIDTH), (N_SOURCES, 3, 2 * WIDTH), (4 * HEADS, n_edges), (n_edges,),
        (3, n_edges),
    ]  # fmt: skip
    tensors = [torch.from_numpy(rng.normal(size=shape)).requires_grad_() for shape in shapes]
    return tensors if with_vectors else [*tensors[:2], None, *tensors[3:]]


def composed(edges: Edges, given: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the messages by operations of PyTorch, whose sums are tested edge by edge in `test_pairs`."""
    queries, values, vectors, of_distance, log_envelope, units = given
    radial = torch.zeros(N_RADIAL, len(edges))
    pairs = Pairs(edges, radial, torch.ones(len(edges)), units)
    pairs.log_envelope = log_envelope
    return pairs.composed_messages(queries, values, vectors, of_distance, GAIN)


@pytest.mark.parametrize("with_vectors", [True, False])
def test_they_are_those_that_pytorch_composes(edges: Edges, with_vectors: bool) -> None:
    given = inputs(with_vectors)
    for found, expected in zip(messages(edges, *given, GAIN), composed(edges, given), strict=True):
        assert found.shape == expected.shape
        assert torch.allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("with_vectors", [True, False])
def test_so_are_their_derivatives(edges: Edges, with_vectors: bool) -> None:
    given = inputs(with_vectors)
    wanted = [one for one in given if one is not None]
    rng = np.random.default_rng(2)
    outside = [torch.from_numpy(rng.normal(size=one.shape)) for one in composed(edges, given)]
    found = torch.autograd.grad(messages(edges, *given, GAIN), wanted, outside)
    expected = torch.autograd.grad(composed(edges, given), wanted, outside)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)


def test_a_second_derivative_is_refused(edges: Edges) -> None:
    given = inputs()
    result = messages(edges, *given, GAIN)[0].square().sum()
    (first,) = torch.autograd.grad(result, given[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        first.sum().backward()


def test_threads_share_the_edges(edges: Edges, monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs()

    def both() -> list[torch.Tensor]:
        results = messages(edges, *given, GAIN)
        return [*results, *torch.autograd.grad([one.square().sum() for one in results], given)]

    alone = both()
    monkeypatch.setattr(threads, "PRODUCTS_OF_A_THREAD", 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    for one, other in zip(both(), alone, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)  # sums of threads are added in another order


def test_without_edges_they_are_zero() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    given = inputs(n_edges=0)
    scalars, vectors = messages(Edges(none, none, N_TARGETS, N_SOURCES), *given, GAIN)
    assert not scalars.any()
    assert not vectors.any()
    gradients = torch.autograd.grad([scalars.sum(), vectors.sum()], given)
    assert not any(one.any() for one in gradients)


def test_pairs_take_the_loops_unless_they_are_differentiated_twice(
    edges: Edges, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, values, vectors, _, envelope, units = inputs()
    rng = np.random.default_rng(3)
    radial, weight, bias = (
        torch.from_numpy(rng.normal(size=shape)) for shape in ((N_RADIAL, N_EDGES), (4 * HEADS, N_RADIAL), (4 * HEADS,))
    )
    assert not can_be_compiled(edges, HEADS, CHANNELS), "so few edges are left to PyTorch"
    monkeypatch.setattr(module, "COMPILED_WEIGHTS", 0)
    calls = []
    monkeypatch.setattr(pairs_module.compiled, "messages", lambda *given: calls.append(given) or messages(*given))
    by_way = [
        Pairs(edges, radial, envelope.sigmoid(), units, twice).messages(queries, values, vectors, weight, bias, GAIN)
        for twice in (False, True)
    ]
    assert len(calls) == 1
    for one, other in zip(*by_way, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-13)
