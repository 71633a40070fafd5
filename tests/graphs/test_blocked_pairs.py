"""Large structures in blocks: the same forces, energies and gradients as all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from elmlff_core.contracts.features import Features
from elmlff_core.graphs import messages, pairs_of_batch
from elmlff_core.graphs.batch import GraphBatch, GraphDataset
from elmlff_core.graphs.network import Network
from elmlff_core.graphs.pairs_of_batch import BlockedPairs, WholePairs, make_pairs
from elmlff_core.graphs.radial import RadialBasis
from elmlff_core.meta.conservative import ConservativeNetwork
from elmlff_core.meta.egat import EGATNetwork
from elmlff_core.meta.options import ConservativeOptions, EGATOptions

CUTOFF = 4.0


@pytest.fixture
def structures() -> list[Atoms]:
    """Two crystals of unlike size, and an atom without neighbours."""
    crystals = [bulk("Cu", cubic=True).repeat(repeat) for repeat in ((3, 2, 2), (2, 2, 2))]
    for seed, atoms in enumerate(crystals):
        atoms.rattle(0.1, seed=seed)
    return [*crystals, Atoms("Cu", cell=[20.0] * 3, pbc=True)]


@pytest.fixture
def batch(structures: list[Atoms]) -> GraphBatch:
    rng = np.random.default_rng(0)
    forces = rng.normal(size=(2, sum(map(len, structures)), 3))
    features = Features(structures, ("one", "two"), forces, energies={})
    found = GraphDataset.from_features(features, CUTOFF, images=True, dtype=torch.float64).batch([0, 1, 2])
    return replace(found, base_energies=torch.from_numpy(rng.normal(size=(3, 2))))


def networks() -> Iterator[Network]:
    torch.manual_seed(0)
    numbers = torch.tensor([29])
    small = {"width": 8, "heads": 2, "layers": 2, "cutoff": CUTOFF}
    yield EGATNetwork(EGATOptions(**small), 2, numbers, 30.0)
    yield ConservativeNetwork(ConservativeOptions(**small), 2, numbers, 30.0)


@pytest.mark.parametrize("fewest", [0, 2**20], ids=["compiled", "composed"])
@pytest.mark.parametrize("network", list(networks()), ids=lambda network: type(network).__name__)
def test_blocks_change_no_prediction(
    network: Network, fewest: int, batch: GraphBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "COMPILED_WEIGHTS", fewest)
    for parameter in network.parameters():  # the heads are zero at first
        torch.nn.init.normal_(parameter, std=0.3)
    network.double().eval()
    whole = network.outputs(batch)
    monkeypatch.setattr(pairs_of_batch, "BLOCK_EDGES", 100)
    pairs = make_pairs(batch, RadialBasis(4, CUTOFF).double(), in_blocks=True)
    assert isinstance(pairs, BlockedPairs)
    assert len(pairs.blocks) > 10
    in_blocks = network.outputs(batch)
    assert whole.forces.abs().max() > 0.1
    assert torch.allclose(in_blocks.forces, whole.forces, atol=1e-12)
    if whole.energy is not None:
        assert torch.allclose(in_blocks.energy, whole.energy, atol=1e-12)


def test_a_training_takes_no_blocks(batch: GraphBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training needs gradients of the parameters, which blocks do not give."""
    monkeypatch.setattr(pairs_of_batch, "BLOCK_EDGES", 100)
    for network in networks():
        network.double().train()
        outputs = network.outputs(batch)
        outputs.forces.square().sum().backward()
        assert all(parameter.grad is not None for name, parameter in network.named_parameters() if "head" in name)


def test_small_structures_take_no_blocks(batch: GraphBatch) -> None:
    assert isinstance(make_pairs(batch, RadialBasis(4, CUTOFF).double(), in_blocks=True), WholePairs)
