"""The network of the paper: layers compared with those of PyG, number of parameters, and structures of each head."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.nn import GATConv

from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.errors import ElmlffError
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.features.metrics import force_metrics
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.meta import layers
from elmlff_core.meta.gat import GATMeta, GATNetwork
from elmlff_core.meta.options import GATOptions
from elmlff_core.settings.config import TrainingConfig
from tests.conftest import synthetic_features
from tests.graphs.test_batch import mixed_features

SMALL = {"channels": (4, 4, 8), "averaged_layers": 1, "heads": 2}


def fit(options: GATOptions, features, folder: Path, epochs=3, valid=None, **settings) -> GATMeta:
    meta = GATMeta(options)
    training = TrainingConfig(epochs=epochs, batch_size=8, device="cpu", **settings)
    meta.fit(FitRequest(features, features if valid is None else valid, training, folder, 0, lambda _: None))
    return meta


@pytest.mark.parametrize("concat", [True, False])
def test_layer_is_pygs(concat):
    """Eq. 4 with the convolution of PyG over edges, compared with the dense form over padded batches."""
    torch.manual_seed(0)
    batch = GraphDataset.from_features(mixed_features(), 2.5).batch(range(5))
    x = torch.randn(len(batch.atomic_numbers), 6, requires_grad=True)
    layer = layers.ResidualGATLayer(6, 4, heads=3, concat=concat)
    reference = GATConv(6, 4, heads=3, concat=concat)
    reference.load_state_dict(layer.conv.state_dict())
    expected = torch.relu(reference(x, batch.edges)) + layer.residual(x)
    dense = batch.flatten(layer(batch.pad(x), batch.adjacency))
    assert torch.allclose(dense, expected, atol=1e-5)
    gradients = [torch.autograd.grad(out.square().sum(), x, retain_graph=True)[0] for out in (dense, expected)]
    assert torch.allclose(*gradients, atol=1e-4)


def test_dense_and_sparse_networks_agree(monkeypatch):
    torch.manual_seed(0)
    batch = GraphDataset.from_features(mixed_features(), 2.5).batch(range(5))
    stack = layers.ResidualGATStack(7, (8, 8, 8), heads=2, n_averaged=1)
    x = torch.randn(len(batch.atomic_numbers), 7)
    dense = stack(x, batch)
    monkeypatch.setattr(layers, "DENSE_LIMIT", 0)
    assert torch.allclose(stack(x, batch), dense, atol=1e-5)


def test_parameters_of_the_papers_network():
    """There are 2.49 million for eight base models and Cu48 C O H4, counted from the shapes in Eqs. 4 to 6."""
    network = GATNetwork(GATOptions(target="direct"), 8, torch.tensor([1, 6, 8, 29]), 54)
    n_inputs, heads = 3 * 8 + 4, 4
    widths = [128, 256, 512, 512, 512, 256, 256, 256]
    channels = [32, 64, 128, 128, 128, 256, 256, 256]
    expected, before = 0, n_inputs
    for width, channel in zip(widths, channels, strict=True):
        expected += before * channel * heads + 2 * channel * heads + width  # projection, attention, bias
        expected += 0 if before == width else before * width + width  # residual
        before = width
    expected += sum(widths) * 54 * 3 + 54 * 3
    assert sum(p.numel() for p in network.parameters()) == expected
    assert round(expected / 1e6, 2) == 2.49


def test_no_epochs_are_exactly_the_linear_combination(tmp_path):
    features = synthetic_features()
    meta = fit(GATOptions(**SMALL), features, tmp_path, epochs=0)
    assert np.allclose(meta.predict(features).forces, LinearCombination.fit(features).apply(features), atol=1e-6)


@pytest.mark.parametrize("learning_rate", [1e-3, 10.0])
def test_no_budget_makes_it_worse_than_the_linear_combination_on_validation(tmp_path, learning_rate):
    features, valid = synthetic_features(seed=0), synthetic_features(seed=1)
    meta = fit(GATOptions(**SMALL), features, tmp_path, epochs=4, valid=valid, learning_rate=learning_rate)
    combined = LinearCombination.fit(features).apply(valid)
    found = [
        force_metrics(forces, valid.reference_forces, valid.n_atoms).rmse_per_frame
        for forces in (meta.predict(valid).forces, combined)
    ]
    assert found[0] <= found[1] * (1 + 1e-5)


def test_it_learns_what_the_linear_combination_leaves(tmp_path):
    features = synthetic_features(n_structures=64, n_models=2, noise=0.0)
    options = GATOptions(channels=(16, 16, 16, 16), heads=2, averaged_layers=1, readout="atom", rotate=False)
    meta = fit(options, features, tmp_path, epochs=60, learning_rate=5e-3)
    combined = LinearCombination.fit(features).apply(features)
    error = np.sqrt(((meta.predict(features).forces - features.reference_forces) ** 2).mean())
    assert error < 0.7 * np.sqrt(((combined - features.reference_forces) ** 2).mean())


def test_pooled_head_refuses_other_structures_and_names_the_other_head(tmp_path):
    meta = fit(GATOptions(**SMALL), synthetic_features(), tmp_path)
    with pytest.raises(ElmlffError, match=r"--set meta\.readout=atom"):
        meta.predict(synthetic_features(symbols="H4C"))
    with pytest.raises(ElmlffError, match=r"--set meta\.readout=atom"):
        fit(GATOptions(**SMALL), mixed_features(), tmp_path)


def test_atom_head_takes_mixed_sizes_one_by_one_or_together(tmp_path):
    features = mixed_features()
    meta = fit(GATOptions(readout="atom", **SMALL), features, tmp_path)
    together = meta.predict(features)
    alone = np.concatenate([meta.predict(features.subset([i])).forces for i in range(len(features))])
    assert np.allclose(together.forces, alone, atol=1e-5)


def test_unknown_element_is_refused(tmp_path):
    meta = fit(GATOptions(readout="atom", **SMALL), synthetic_features(), tmp_path)
    with pytest.raises(ElmlffError, match=r"atomic numbers \[8\]"):
        meta.predict(synthetic_features(symbols="OH4"))


@pytest.mark.parametrize("readout", ["pooled", "atom"])
@pytest.mark.parametrize("target", ["delta", "direct"])
def test_saved_and_loaded_is_the_same(tmp_path, readout, target):
    features = synthetic_features()
    options = GATOptions(readout=readout, target=target, **SMALL)
    meta = fit(options, features, tmp_path)
    meta.save(tmp_path)
    loaded = GATMeta(options)
    loaded.load(tmp_path)
    assert np.array_equal(loaded.predict(features).forces, meta.predict(features).forces)
    assert np.array_equal(loaded.predict(features).energy, meta.predict(features).energy)


def test_molecules_are_turned_and_cells_are_not(tmp_path):
    """With `auto`, results equal those of the suitable explicit setting exactly."""
    molecules, cells = synthetic_features(), synthetic_features()
    for atoms in cells.structures:
        atoms.cell, atoms.pbc = [20, 20, 20], True
    for features, turned in ((molecules, True), (cells, False)):
        forces = {
            rotate: fit(GATOptions(rotate=rotate, **SMALL), features, tmp_path / f"{turned}{rotate}").predict(features)
            for rotate in ("auto", True, False)
        }
        assert np.array_equal(forces["auto"].forces, forces[turned].forces)
        assert not np.array_equal(forces["auto"].forces, forces[not turned].forces)


@pytest.mark.parametrize("target", ["delta", "direct"])
def test_without_base_models_it_sees_elements_only(tmp_path, target):
    """Atoms of one element with equal neighbours get equal forces, also after saving and loading."""
    features = synthetic_features().of_models(())
    options = GATOptions(readout="atom", target=target, cutoff=50.0, rotate=False, **SMALL)
    meta = fit(options, features, tmp_path)
    forces = meta.predict(features).forces.reshape(len(features), 5, 3)
    assert np.allclose(forces, forces[0], atol=1e-6)  # the structures differ only in positions
    assert np.allclose(forces[:, 1:], forces[:, 1:2], atol=1e-6)  # the four hydrogen atoms have the same neighbours
    meta.save(tmp_path)
    loaded = GATMeta(options)
    loaded.load(tmp_path)
    assert np.array_equal(loaded.predict(features).forces, meta.predict(features).forces)
