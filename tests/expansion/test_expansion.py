"""The derivatives of an atomic cluster expansion, for coefficients and for least squares, and its symmetries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.expansion import neighbourhoods as module
from elmlff_core.expansion.expansion import ClusterExpansion
from elmlff_core.graphs.batch import GraphBatch, GraphDataset

CUTOFF, DEGREE = 4.5, 7


def batch_of(structures: list[Atoms]) -> tuple[GraphBatch, torch.Tensor]:
    zero = Prediction.from_lists([np.zeros((len(atoms), 3)) for atoms in structures])
    features = Features.from_predictions(structures, {"nothing": zero}, None)
    graphs = GraphDataset.from_features(features, CUTOFF, images=True, dtype=torch.float64)
    batch = graphs.batch(range(len(structures)))
    return batch, torch.searchsorted(torch.from_numpy(features.elements), batch.atomic_numbers)


def alloy(seed: int = 3) -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.numbers[::3] = 79
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.fixture(params=[0, 5], ids=["products", "products and kernel"])
def expansion(request) -> ClusterExpansion:
    expansion = ClusterExpansion(2, DEGREE, CUTOFF, request.param).double()
    expansion.choose_environments(*batch_of([alloy(7)]))
    return expansion


@pytest.fixture
def coefficients(expansion: ClusterExpansion) -> torch.Tensor:
    shape = (2, len(expansion.roughness), 3)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def test_gradients_are_those_of_finite_differences(expansion, coefficients):
    batch, elements = batch_of([alloy()])
    _, _, gradient = expansion.energies(batch, elements, coefficients)
    assert batch.vectors is not None
    step = 1e-4
    for edge, axis in ((0, 0), (17, 1), (60, 2)):
        found = []
        for shift in (-2, -1, 1, 2):
            vectors = batch.vectors.clone()
            vectors[edge, axis] += shift * step
            found.append(expansion.energies(batch.with_vectors(vectors), elements, coefficients)[0].sum(dim=0))
        slope = (8 * (found[2] - found[1]) - (found[3] - found[0])) / (12 * step)
        assert torch.allclose(gradient[edge, axis], slope[0], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("block", [None, 20_000, 1])
def test_the_design_gives_the_same_energies_and_forces(expansion, coefficients, monkeypatch, block):
    batch, elements = batch_of([alloy(), alloy(9)])
    energies, forces, gradient = expansion.energies(batch, elements, coefficients)
    if block:  # in blocks of a few atoms
        monkeypatch.setattr(module, "BLOCK_NUMBERS", block)
        again = expansion.energies(batch, elements, coefficients)
        assert torch.allclose(again[0], energies, rtol=1e-12)
        assert torch.allclose(again[1], forces, atol=1e-12)
        assert torch.allclose(again[2], gradient, atol=1e-12)
    of_energies, of_forces = expansion.design(batch, elements)
    total = energies.new_zeros(2, 3).index_add(0, batch.structure_index, energies)
    unknowns = coefficients.flatten(0, 1)
    assert torch.allclose(of_energies @ unknowns, total, rtol=1e-10)
    assert torch.allclose(of_forces @ unknowns, forces.flatten(1).T, atol=1e-10)


def test_atoms_have_the_same_energies_after_rotation_reflection_and_in_another_order(expansion, coefficients):
    atoms = alloy()
    energies = expansion.energies(*batch_of([atoms]), coefficients)[0]
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    for matrix in (turn, -turn):
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ matrix.T)
        turned.positions = atoms.positions @ matrix.T
        assert torch.allclose(expansion.energies(*batch_of([turned]), coefficients)[0], energies, rtol=1e-9)
    order = np.random.default_rng(6).permutation(len(atoms))
    assert torch.allclose(expansion.energies(*batch_of([atoms[order]]), coefficients)[0], energies[order], rtol=1e-9)


def test_energies_are_smooth_at_the_cutoff_and_zero_for_lonely_atoms(expansion, coefficients):
    def pair(distance: float) -> torch.Tensor:
        return expansion.energies(*batch_of([Atoms("CuAu", [[0, 0, 0], [0, 0, distance]])]), coefficients)[0]

    assert not pair(CUTOFF + 1e-9).any()
    assert float(pair(CUTOFF - 1e-3).abs().max()) < 1e-8
    assert float(pair(CUTOFF - 0.5).abs().max()) > 1e-4
    batch, elements = batch_of([Atoms("Cu"), Atoms("Au")])
    of_energies, of_forces = expansion.design(batch, elements)
    assert not of_energies.any()
    assert not of_forces.any()


def test_elements_tell_neighbours_apart(expansion, coefficients):
    water = molecule("H2O")
    water.set_chemical_symbols(["Au", "Cu", "Cu"])
    other = molecule("H2O")
    other.set_chemical_symbols(["Au", "Cu", "Au"])
    one, two = (expansion.energies(*batch_of([atoms]), coefficients)[0][0] for atoms in (water, other))
    assert not torch.allclose(one, two, rtol=1e-3)


def test_blocks_are_of_as_many_slots_as_the_largest_environment_needs(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_NUMBERS", 100)
    target = torch.tensor([0, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 5])
    found = list(module._blocks_of_targets(target, 7, 10, 5))
    # Three atoms with one edge each, then one with ten and one without any, and so on.
    assert [(atoms.start, atoms.stop, edges.start, edges.stop) for atoms, edges in found] == [
        (0, 3, 0, 3), (3, 4, 3, 13), (4, 7, 13, 14),
    ]  # fmt: skip


def test_atoms_at_one_place_have_finite_energies(expansion, coefficients):
    atoms = alloy()
    atoms.positions[1] = atoms.positions[0]
    energies, forces, gradient = expansion.energies(*batch_of([atoms]), coefficients)
    assert energies.isfinite().all()
    assert forces.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU")
def test_a_gpu_gives_the_same(expansion, coefficients):
    batch, elements = batch_of([alloy()])
    here = expansion.energies(batch, elements, coefficients)
    there = expansion.cuda().energies(batch.to("cuda"), elements.cuda(), coefficients.cuda())
    for one, other in zip(here, there, strict=True):
        assert torch.allclose(other.cpu(), one, rtol=1e-10, atol=1e-10)
