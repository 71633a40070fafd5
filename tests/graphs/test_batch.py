"""Batches of structures of different sizes: each structure keeps its atoms and edges."""

import numpy as np
import torch

from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.graphs.neighbours import minimum_image_edges
from tests.conftest import random_molecules, synthetic_features


def mixed_features():
    """Return features of molecules of 1, 3 and 5 atoms."""
    from elmlff_core.contracts.features import Features
    from elmlff_core.contracts.prediction import Prediction

    structures = [
        random_molecules(1, seed, symbols)[0] for seed, symbols in enumerate(["CH4", "H", "OH2", "CH4", "OH2"])
    ]
    n_atoms = np.array([len(atoms) for atoms in structures])
    rng = np.random.default_rng(0)
    reference = Prediction(n_atoms, rng.normal(size=(n_atoms.sum(), 3)))
    return Features(structures, ("a", "b"), rng.normal(size=(2, n_atoms.sum(), 3)), {}, reference)


def test_batch_has_the_requested_structures_in_order():
    features = mixed_features()
    graphs = GraphDataset.from_features(features, 2.5)
    order = [3, 1, 2]
    batch = graphs.batch(order)
    picked = features.subset(order)
    assert batch.n_atoms.tolist() == picked.n_atoms.tolist()
    assert batch.atomic_numbers.tolist() == picked.atomic_numbers.tolist()
    assert torch.allclose(batch.base_forces, torch.from_numpy(picked.forces.transpose(1, 0, 2)).float())
    expected, offset = [], 0
    for atoms in picked.structures:
        expected.append(minimum_image_edges(atoms, 2.5) + offset)
        offset += len(atoms)
    assert np.array_equal(batch.edges.numpy(), np.concatenate(expected, axis=1))
    assert np.allclose(graphs.reference_forces[graphs.rows(torch.tensor(order))], picked.reference_forces)


def test_padding_and_adjacency():
    batch = GraphDataset.from_features(mixed_features(), 2.5).batch(range(5))
    values = torch.randn(len(batch.atomic_numbers), 4)
    padded = batch.pad(values)
    assert padded.shape == (5, 5, 4)
    assert padded[1, 1:].abs().sum() == 0
    assert torch.equal(batch.flatten(padded), values)
    adjacency = batch.adjacency
    assert adjacency.diagonal(dim1=1, dim2=2).all()
    # Every edge and the self-loops, and nothing else.
    assert int(adjacency.sum()) == batch.edges.shape[1] + 5 * 5
    assert not adjacency[1, 0, 1:].any()


def test_equal_sizes_need_no_copy():
    batch = GraphDataset.from_features(synthetic_features(4), 5.0).batch(range(4))
    values = torch.randn(20, 3)
    assert batch.pad(values).data_ptr() == values.data_ptr()
