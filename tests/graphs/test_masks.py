"""Masked base models: they have no effect, every subset starts as its least squares, draws depend on the seed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.graphs.masks import BaseMasks, HiddenModels
from elmlff_core.graphs.orientation import random_orthogonal
from elmlff_core.meta.egat import EGATMeta
from elmlff_core.meta.gat import GATMeta
from elmlff_core.meta.options import EGATOptions, GATOptions
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.workflows.sweep.masked import make_masks
from elmlff_core.workflows.sweep.subsets import all_subsets
from tests.conftest import synthetic_features

METAS = {
    "gat": lambda: GATMeta(GATOptions(channels=(4, 4), heads=2, averaged_layers=1)),
    "gat by atom": lambda: GATMeta(GATOptions(channels=(4, 4), heads=2, averaged_layers=1, readout="atom")),
    "egat": lambda: EGATMeta(EGATOptions(width=8, layers=1, heads=2)),
}


def least_squares(features, subset) -> np.ndarray:
    """Return per-element least squares of `subset` on the features themselves, by NumPy: (n_rows, 3)."""
    combined = np.empty_like(features.reference_forces)
    columns = [features.models.index(name) for name in subset]
    for number in np.unique(features.atomic_numbers):
        rows = features.atomic_numbers == number
        design = features.forces[columns][:, rows].reshape(len(columns), -1).T
        weights = np.linalg.lstsq(design, features.reference_forces[rows].ravel(), rcond=None)[0]
        combined[rows] = (design @ weights).reshape(-1, 3)
    return combined


def fit(meta, folder) -> BaseMasks:
    features = synthetic_features()
    masks = make_masks(features, 3)
    training = TrainingConfig(epochs=0, batch_size=8, device="cpu")
    meta.fit(FitRequest(features, synthetic_features(seed=1), training, folder, 5, lambda _: None, masks))
    return masks


@pytest.mark.parametrize("name", METAS)
def test_before_training_every_subset_is_its_least_squares(tmp_path, name):
    features = synthetic_features()
    meta = METAS[name]()
    masks = fit(meta, tmp_path)
    subsets = all_subsets(features.models)
    predicted = list(meta.predict_masked(features, masks, range(len(subsets))))
    assert len(predicted) == 7
    for subset, forces in zip(subsets, predicted, strict=True):
        assert np.allclose(forces, least_squares(features, subset), atol=2e-5), subset


@pytest.mark.parametrize("name", METAS)
def test_a_masked_base_model_has_no_effect_after_training(tmp_path, name):
    features = synthetic_features()
    meta = METAS[name]()
    masks = fit(meta, tmp_path)
    torch.manual_seed(0)
    for parameter in meta.network.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # it starts at zero
    other = synthetic_features()
    other.forces[1] = np.random.default_rng(0).normal(size=other.forces[1].shape)
    for index, subset in enumerate(all_subsets(features.models)):
        (before,), (after,) = (list(meta.predict_masked(given, masks, [index])) for given in (features, other))
        assert np.allclose(before, after, atol=1e-6) == ("m1" not in subset)
        assert np.abs(before - least_squares(features, subset)).max() > 1e-3  # it differs from the linear combination


def masks_of(n_models: int) -> BaseMasks:
    members = np.array([row for row in itertools.product([False, True], repeat=n_models) if any(row)])
    weights = np.where(members, 1.0 / members.sum(axis=1, keepdims=True), 0.0)[:, None]  # means, one element
    return BaseMasks.from_arrays(np.array([1]), members, weights, [0])


def test_all_sizes_and_all_subsets_of_a_size_are_drawn_equally_often():
    masks = masks_of(4)
    drawn = masks.draw(40_000, torch.Generator().manual_seed(0))
    counts = np.bincount(drawn.numpy(), minlength=15)
    sizes = masks.members.sum(dim=1).numpy()
    expected = 40_000 / (4 * np.array([1, 4, 6, 4, 1])[sizes])
    assert np.allclose(counts, expected, atol=4 * np.sqrt(expected.max()))


def drawn(masks: BaseMasks, seed: int) -> torch.Tensor:
    """Return a random subset for each of six structures."""
    return masks.draw(6, torch.Generator().manual_seed(seed))


def test_masking_is_equivariant_and_depends_on_the_seed():
    features = synthetic_features(symbols="H3")
    graphs = GraphDataset.from_features(features, 4.0)
    batch, masks = graphs.batch(range(6)), masks_of(3)
    turns = random_orthogonal(6, torch.Generator().manual_seed(1))[batch.structure_index]
    turned = batch.with_forces(batch.base_forces @ turns)
    plain, again, rotated = (masks.masked(given, drawn(masks, 2)) for given in (batch, batch, turned))
    assert torch.equal(plain.base_forces, again.base_forces)
    assert torch.allclose(rotated.base_forces, plain.base_forces @ turns, atol=1e-6)
    assert torch.allclose(rotated.combined_forces, (plain.combined_forces.unsqueeze(1) @ turns).squeeze(1), atol=1e-6)
    assert not torch.equal(masks.masked(batch, drawn(masks, 3)).base_forces, plain.base_forces)


def test_each_structure_has_its_subset_and_masked_base_models_give_the_combination():
    features = synthetic_features(symbols="H3")
    batch = GraphDataset.from_features(features, 4.0).batch(range(24))
    masks = masks_of(3)
    subsets = masks.draw(24, torch.Generator().manual_seed(4))
    masked = masks.masked(batch, subsets)
    assert len(set(subsets.tolist())) > 3
    for structure, subset in enumerate(subsets.tolist()):
        members = masks.members[subset].numpy()
        rows = slice(3 * structure, 3 * structure + 3)
        own = features.forces.transpose(1, 0, 2)[rows]  # (3, M, 3)
        combined = own[:, members].mean(axis=1, keepdims=True)
        assert np.allclose(masked.base_forces[rows], np.where(members[:, None], own, combined), atol=1e-6)
        assert np.allclose(masked.combined_forces[rows], combined[:, 0], atol=1e-6)


def test_validation_uses_fixed_subsets_including_that_of_all_base_models():
    features = synthetic_features(n_models=5)
    masks, again = make_masks(features, 0), make_masks(features, 0)
    assert masks.for_validation == again.for_validation
    assert len(set(masks.for_validation)) == 8
    assert max(masks.for_validation) == 30
    assert masks.members[30].all()
    assert make_masks(features, 1).for_validation != masks.for_validation


def test_hidden_base_models_leave_their_combination():
    features = synthetic_features(n_structures=400)
    graphs = GraphDataset.from_features(features, 6.0, images=True)
    batch = graphs.batch(torch.arange(len(features)))
    weights = torch.tensor([[0.2, 0.3, 0.1], [0.5, -0.1, 0.4]])  # of hydrogen and carbon; they need not add up to one
    hidden = HiddenModels(torch.tensor([1, 6]), weights, 0.3)
    drawn = hidden.draw(len(features), torch.Generator().manual_seed(0))
    assert drawn.float().mean() == pytest.approx(0.3, abs=0.08)
    assert torch.equal(drawn, hidden.draw(len(features), torch.Generator().manual_seed(0)))
    shown = hidden.masked(batch, drawn)
    expected = torch.einsum(
        "nm,nmx->nx", weights[(batch.atomic_numbers == 6).long()].double(), batch.base_forces.double()
    )
    assert torch.allclose(shown.combined(torch.zeros(1)).double(), expected, atol=1e-6)
    of_atom = drawn[batch.structure_index]
    assert torch.equal(shown.base_forces[~of_atom], batch.base_forces[~of_atom])
    for forces in shown.base_forces[of_atom].unbind(1):
        assert torch.allclose(forces.double(), expected[of_atom], atol=1e-6)


def weights_of_deviations(folder, hidden: float, epochs: int) -> torch.Tensor:
    """Return the weights with which the deviations of base models enter a network after a training."""
    meta = EGATMeta(EGATOptions(width=8, layers=1, heads=2, hidden=hidden))
    training = TrainingConfig(epochs=epochs, batch_size=8, device="cpu", learning_rate=0.01)
    features = synthetic_features()
    meta.fit(FitRequest(features, features, training, folder / f"{hidden}-{epochs}", 5, lambda _: None))
    return meta.network.state_dict()["vectors"][:, 1:]  # the first is that of the combination


def test_a_network_learns_nothing_from_base_models_that_are_always_hidden(tmp_path):
    start = weights_of_deviations(tmp_path, 0.0, 0)
    assert torch.equal(weights_of_deviations(tmp_path, 0.999_999, 3), start)
    assert not torch.allclose(weights_of_deviations(tmp_path, 0.0, 3), start, atol=1e-4)
