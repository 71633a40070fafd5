"""Training of `conservative` on stresses: strained copper, two Morse potentials, labels by effective medium theory."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.data.labels import dataset_from_structures
from elmlff_core.meta.conservative import ConservativeMeta, ConservativeNetwork
from elmlff_core.meta.options import ConservativeOptions
from elmlff_core.meta.training.loss import Labelled, training_loss
from elmlff_core.settings.config import TrainingConfig

OPTIONS = ConservativeOptions(width=8, layers=1, heads=2, n_radial=4, cutoff=4.0)
ONLY_STRESS = TrainingConfig(loss="norm", stress_weight=1.0, energy_weight=0.0)


def strained(seed: int) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True)
    strain = rng.normal(scale=0.03, size=(3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) * rng.uniform(0.98, 1.06) + strain + strain.T), scale_atoms=True)
    atoms.rattle(0.08, seed=seed)
    return atoms


def predicted(structures: list[Atoms], epsilon: float) -> Prediction:
    found = []
    for atoms in structures:
        calculator = MorsePotential(epsilon=epsilon, r0=2.6)
        calculator.calculate(atoms, ["forces"])
        found.append(calculator.results)
    return Prediction.from_lists(*([one[name] for one in found] for name in ("forces", "energy", "stress")))


def features_of(structures: list[Atoms], labelled: bool = True) -> Features:
    predictions = {name: predicted(structures, epsilon) for name, epsilon in (("soft", 0.3), ("hard", 0.5))}
    dataset = None
    if labelled:
        copies = [atoms.copy() for atoms in structures]
        for atoms in copies:
            atoms.calc = EMT()
            atoms.get_forces()
            atoms.get_stress()
        dataset = dataset_from_structures(copies, "copper")
    return Features.from_predictions(structures, predictions, dataset)


def strained_parts() -> tuple[Features, ...]:
    """Training, validation and test structures: 12, 4 and 6."""
    return tuple(features_of([strained(seed) for seed in seeds]) for seeds in (range(12), range(20, 24), range(30, 36)))


@pytest.fixture(scope="module")
def features() -> Features:
    return features_of([strained(seed) for seed in range(36)])


Fit = Callable[..., ConservativeMeta]


@pytest.fixture
def fit(features: Features, tmp_path: Path) -> Fit:
    def fitted(train: Features, epochs: int, **settings: float) -> ConservativeMeta:
        meta = ConservativeMeta(OPTIONS)
        given = {"epochs": epochs, "batch_size": 8, "learning_rate": 1e-2, "loss": "norm", "energy_weight": 1.0}
        training = TrainingConfig(device="cpu", **given | settings)
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        meta.fit(FitRequest(train, features.subset(range(24, 28)), training, folder, 0, lambda _: None))
        return meta

    return fitted


@pytest.fixture
def random_meta(fit: Fit, features: Features) -> ConservativeMeta:
    """A meta-model whose network has random weights everywhere, so that energies and gates are not zero."""
    meta = fit(features.subset(range(8)), 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in meta.network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    meta.network.double()  # so that differences of energies over small steps have enough digits
    return meta


def in_training(meta: ConservativeMeta, features: Features) -> tuple[ConservativeNetwork, Labelled]:
    """Return the network as a training has it, but in double precision, and one batch of all structures."""
    graphs = meta._graphs(features, torch.float64)
    labels = (graphs.reference_forces, graphs.reference_energy, graphs.reference_stress)
    return copy.deepcopy(meta.network).double().train(), Labelled(graphs.batch(range(len(features))), *labels)


def test_the_stress_in_training_is_the_strain_derivative_of_the_energy(random_meta, features):
    structures = features.structures[:3]
    network, labelled = in_training(random_meta, features.subset(range(3)))
    found = network.outputs(labelled.graphs).stress
    assert found.requires_grad
    found = found.detach().numpy()
    assert found == pytest.approx(random_meta.predict(features.subset(range(3))).stress, rel=1e-12, abs=1e-12)
    step = 1e-4
    pairs = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    moved = []
    for atoms in structures:
        for i, j in pairs:
            for sign in (1, -1):
                strain = np.eye(3)
                strain[i, j] += sign * step / 2
                strain[j, i] += sign * step / 2
                moved.append(atoms.copy())
                moved[-1].set_cell(atoms.cell.array @ strain, scale_atoms=True)
    energies = random_meta.predict(features_of(moved, labelled=False)).energy.reshape(3, 6, 2)
    volumes = np.array([atoms.get_volume() for atoms in structures])[:, None]
    expected = (energies[:, :, 0] - energies[:, :, 1]) / (2 * step * volumes)
    combined = np.einsum("m,msa->sa", random_meta.energy.weights, np.stack([*features.stresses.values()])[:, :3])
    assert np.abs(found - combined).max() > 1e-3  # the network takes part
    assert found == pytest.approx(expected, abs=1e-5 * np.abs(expected).max())


def stress_loss(network: ConservativeNetwork, labelled: Labelled) -> torch.Tensor:
    """The part of the loss that the stress adds."""
    without = ONLY_STRESS.model_copy(update={"stress_weight": 0.0})
    losses = [training_loss(network, labelled, settings, 0.1)[0] for settings in (ONLY_STRESS, without)]
    return losses[0] - losses[1]


def test_the_stress_term_is_the_norm_of_virial_errors_per_atom(random_meta, features):
    some = features.subset(range(4))
    network, labelled = in_training(random_meta, some)
    error = random_meta.predict(some).stress - some.reference.stress
    virials = np.array([atoms.get_volume() / len(atoms) for atoms in some.structures])[:, None] * error
    tensors = virials[:, [[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
    norms = np.sqrt((tensors**2).sum(axis=(1, 2)))
    # Norms are smoothed below 0.01 in units of the scale, which is 0.1.
    found = float(stress_loss(network, labelled).detach())
    assert found == pytest.approx(np.sqrt(norms**2 + 1e-6).mean() / 0.1, rel=1e-9)


def test_its_gradient_agrees_with_finite_differences(random_meta, features):
    network, labelled = in_training(random_meta, features.subset(range(4)))
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(
        stress_loss(network, labelled), parameters, allow_unused=True, materialize_grads=True
    )
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        directions = [torch.randn(one.shape, generator=generator, dtype=one.dtype) for one in parameters]
        step, ends = 1e-5, []
        for sign in (1, -1):
            moved = copy.deepcopy(network)
            with torch.no_grad():
                for parameter, direction in zip(moved.parameters(), directions, strict=True):
                    parameter.add_(direction, alpha=sign * step)
            ends.append(float(stress_loss(moved, labelled).detach()))
        slope = sum(float((one * other).sum()) for one, other in zip(gradients, directions, strict=True))
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_structures_without_a_stress_label_do_not_count(random_meta, features):
    network, labelled = in_training(random_meta, features.subset(range(4)))
    label = labelled.stress.clone()
    label[1:3] = torch.nan
    partly = replace(labelled, stress=label)
    alone = [stress_loss(network, replace(labelled, stress=label)).detach() for label in _one_by_one(labelled.stress)]
    loss = stress_loss(network, partly)
    assert float(loss.detach()) == pytest.approx(float(alone[0] + alone[3]), rel=1e-12)
    loss.backward()
    assert all(one.grad is None or torch.isfinite(one.grad).all() for one in network.parameters())
    nothing = replace(labelled, stress=torch.full_like(label, torch.nan))
    assert float(stress_loss(network, nothing).detach()) == 0


def _one_by_one(label: torch.Tensor) -> list[torch.Tensor]:
    alone = []
    for place in range(len(label)):
        alone.append(torch.full_like(label, torch.nan))
        alone[-1][place] = label[place]
    return alone


def tensors(meta: ConservativeMeta) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in meta.network.state_dict().items()}


def test_without_stress_labels_or_base_stresses_nothing_changes(fit, features):
    train = features.subset(range(16))
    labels = replace(train.reference, stress=None)
    expected = tensors(fit(replace(train, reference=labels), 2, stress_weight=0.0))
    cases = {
        "no label": replace(train, reference=labels),
        "a base model without stress": replace(train, stresses={"soft": train.stresses["soft"]}),
    }
    for name, case in cases.items():
        found = tensors(fit(case, 2, stress_weight=1.0))
        assert all(np.array_equal(found[key], value) for key, value in expected.items()), name
    changed = tensors(fit(train, 2, stress_weight=1.0))
    assert not all(np.array_equal(changed[key], value) for key, value in expected.items())


def test_training_lowers_the_stress_error(fit, features):
    some = features.subset(range(8))
    network, labelled = in_training(fit(some, 0), some)

    def error() -> float:
        found = network.outputs(labelled.graphs).stress.detach()
        return float((found - labelled.stress).square().mean().sqrt())

    before, optimizer = error(), torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        training_loss(network, labelled, ONLY_STRESS, float(network.output_scale))[0].backward()
        optimizer.step()
    assert error() < 0.5 * before
