"""A training on two devices, here processes of the CPU: the steps of one device, and nothing is left of it."""

from __future__ import annotations

import multiprocessing
import signal
import time
from functools import cache
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
from elmlff_core.contracts.progress import Progress
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.errors import ConfigError, ElmlffError
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.meta.neural import NeuralMeta
from elmlff_core.meta.training import device
from elmlff_core.meta.training.batches import Batches, Draw
from elmlff_core.meta.training.loss import training_loss
from elmlff_core.meta.training.processes import sharing
from elmlff_core.meta.training.rank import Rank
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.workflows.sweep.masked import make_masks
from tests.conftest import synthetic_features
from tests.meta.sharing import TWO, fail, share_and_die

OPTIONS = {"width": 8, "layers": 1, "heads": 2}
BATCHES = {"batch_size": 5}  # of 16 structures: the last batch has one, so that one of two processes has none


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine have two cores at least."""
    monkeypatch.setattr(device, "n_cores", lambda: 2)


@cache
def copper(seed: int) -> Features:
    """Return two Morse potentials over cells of copper of four and eight atoms, labelled by effective medium theory."""
    structures = []
    for number in range(16):
        atoms = bulk("Cu", cubic=True).repeat((1 + number % 2, 1, 1))
        atoms.rattle(0.15, seed=100 * seed + number)
        structures.append(atoms)
    soft, hard = (predicted(structures, MorsePotential(epsilon=epsilon, r0=2.6)) for epsilon in (0.3, 0.5))
    assert soft.energy is not None
    assert hard.energy is not None
    assert soft.stress is not None
    assert hard.stress is not None
    return Features(
        structures, ("soft", "hard"), np.stack([soft.forces, hard.forces]), {"soft": soft.energy, "hard": hard.energy},
        predicted(structures, EMT()), "copper", {"soft": soft.stress, "hard": hard.stress},
    )  # fmt: skip


def predicted(structures: list[Atoms], calculator: object) -> Prediction:
    results = []
    for atoms in structures:
        atoms.calc = calculator
        results.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
        atoms.calc = None
    energy, forces, stress = zip(*results, strict=True)
    n_atoms = np.array([len(atoms) for atoms in structures])
    return Prediction(n_atoms, np.concatenate(forces), np.array(energy), np.array(stress))


def trained(name: str, folder: Path, devices: int, progress=lambda _: None, **settings) -> NeuralMeta:
    given = {"epochs": 6, "learning_rate": 3e-3, "device": "cpu", "devices": devices} | BATCHES | settings
    training = TrainingConfig(**given).with_defaults({"energy_weight": 1.0, "stress_weight": 0.01})
    meta = make_meta(name, OPTIONS)
    meta.fit(FitRequest(copper(0), copper(1), training, folder, 3, progress))
    return meta


def curve(folder: Path) -> np.ndarray:
    """Return the learning curve without its times: (n_epochs + 1, 4)."""
    return np.genfromtxt(folder / "learning_curve.csv", delimiter=",", skip_header=1)[:, :4]


def assert_same(folder: Path, meta: NeuralMeta, other: Path, expected: NeuralMeta) -> None:
    """Assert equality up to the rounding of different sums in float32."""
    assert np.allclose(curve(folder), curve(other), rtol=1e-6, atol=0, equal_nan=True)
    forces = expected.predict(copper(1)).forces
    assert np.allclose(meta.predict(copper(1)).forces, forces, rtol=0, atol=1e-6 * np.abs(forces).max())
    assert [path.name for path in folder.iterdir()] == ["learning_curve.csv"]
    assert not multiprocessing.active_children()


# Few steps, because rounding grows: Adam divides each gradient by its size, so that small ones count as well.
@pytest.mark.parametrize(
    ("name", "settings", "n_epochs"),
    [
        ("egat", {"epochs": 12, "patience": 2}, 4),
        ("conservative", {"epochs": 5}, 5),
        ("conservative", {"epochs": 2, "gradient_clip": 1.0}, 2),
    ],
)
def test_two_processes_take_the_steps_of_one(
    name: str, settings: dict[str, int], n_epochs: int, tmp_path: Path
) -> None:
    one, two = (trained(name, tmp_path / str(devices), devices, **settings) for devices in (1, 2))
    errors = curve(tmp_path / "1")[:, 2]
    assert errors.argmin() > 0  # it has learnt, so that there is something to compare
    assert len(errors) == 1 + n_epochs  # with patience, it has stopped early
    assert_same(tmp_path / "2", two, tmp_path / "1", one)


def test_a_training_whose_other_process_is_killed_resumes(tmp_path: Path) -> None:
    def kill(step: Progress) -> None:
        if step.done == 4:
            multiprocessing.active_children()[0].kill()

    with pytest.raises(ElmlffError, match=r"process 2 of the training was ended by SIGKILL.* again to resume"):
        trained("egat", tmp_path / "cut", 2, kill)
    assert not multiprocessing.active_children()
    seen: list[int] = []
    resumed = trained("egat", tmp_path / "cut", 1, lambda step: seen.append(step.done))  # on any number of devices
    assert seen[0] > 1  # it did not start again
    assert_same(tmp_path / "cut", resumed, tmp_path / "whole", trained("egat", tmp_path / "whole", 1))


@pytest.fixture
def molecules() -> GraphDataset:
    return GraphDataset.from_features(synthetic_features(2), 4.0, images=True)


def test_a_killed_process_leaves_no_others(tmp_path: Path, molecules: GraphDataset) -> None:
    process = multiprocessing.get_context("spawn").Process(target=share_and_die, args=(tmp_path, molecules))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    other = Path("/proc", (tmp_path / "other").read_text())
    deadline = time.monotonic() + 60
    while (
        other.exists() and "State:\tZ" not in (other / "status").read_text()
    ):  # a container may have nobody to reap it
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_failure_of_another_process_is_said(tmp_path: Path, molecules: GraphDataset) -> None:
    def meet() -> None:
        with sharing(TWO, tmp_path, fail, "job", [molecules]) as rank:
            assert not list(tmp_path.iterdir())
            rank.sum(torch.ones(1))

    with pytest.raises(
        ElmlffError, match=r"process 2 .* failed: ValueError: job, \[5, 5\], Rank\(number=1, n=2, device=1\)$"
    ):
        meet()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("name", ["gat", "egat", "egat, masked", "conservative"])
def test_gradients_of_parts_add_up_to_those_of_the_batch(name: str, tmp_path: Path) -> None:
    """Of three processes and a batch of two structures, the last has none; orientations and masks are the same."""
    training = TrainingConfig(epochs=0, device="cpu").with_defaults({"energy_weight": 1.0, "stress_weight": 0.1})
    kind = name.partition(",")[0]
    meta = make_meta(kind, {"readout": "atom", "channels": (4, 4)} if kind == "gat" else OPTIONS)
    meta.fit(FitRequest(copper(0), copper(1), training, tmp_path, 0, lambda _: None))
    assert meta.network is not None
    meta.network.train()
    graphs, masks = meta._graphs(copper(0)), make_masks(copper(0), 0) if "masked" in name else None
    rotate = kind != "conservative"  # its orientations are those of its stresses and edges

    def gradient(rank: Rank, indices: list[int]) -> torch.Tensor:
        meta.network.zero_grad()
        labelled = Batches(graphs, rotate, masks, rank)[Draw(torch.tensor(indices), 5)]
        if len(labelled.forces):
            training_loss(meta.network, labelled, training, 0.1)[0].backward()
        parameters = list(meta.network.parameters())
        return torch.cat([(torch.zeros_like(one) if one.grad is None else one.grad).flatten() for one in parameters])

    for indices in ([0, 1], [3, 2, 5, 7, 11, 12, 13]):
        whole = gradient(Rank(), indices)
        parts = [gradient(Rank(number, 3), indices) for number in range(3)]
        assert sum(bool(part.any()) for part in parts) == min(3, len(indices))
        assert torch.allclose(sum(parts), whole, rtol=0, atol=1e-6 * float(whole.abs().max()))


def test_validation_structures_are_divided_by_their_atoms() -> None:
    graphs = GraphDataset.from_features(copper(0), 4.0, images=True)
    parts = [Rank(number, 3).range_of(graphs) for number in range(3)]
    assert torch.equal(torch.cat([part.n_atoms for part in parts]), graphs.n_atoms)
    assert max(int(part.n_atoms.sum()) for part in parts) <= 96 / 3 + 8
    start = 0
    for part in parts:
        expected = graphs.batch(range(start, start + len(part)))
        found = part.batch(range(len(part)))
        assert torch.equal(found.edges, expected.edges)
        assert torch.equal(found.vectors, expected.vectors)
        assert torch.equal(found.base_forces, expected.base_forces)
        start += len(part)
    assert sorted(len(Rank(number, 3).range_of(graphs.between(0, 2))) for number in range(3)) == [0, 1, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"devices": 3},
            "is 3, but there are no CUDA GPUs, and this process may use 2 cores of the CPU: take at most 2",
        ),
        ({"devices": 2, "batch_size": 1}, "is 2, but a batch has only 1 structures to divide among them: take fewer"),
    ],
)
def test_devices_that_are_not_there_are_refused(settings: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"'training.devices' {message}"):
        trained("egat", tmp_path, **{"batch_size": 5} | settings)


def test_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    device.check_device(TrainingConfig(devices=2))
    with pytest.raises(ConfigError, match=r"is 3, but torch finds 2 CUDA GPUs on this machine: take 2, or"):
        device.check_device(TrainingConfig(devices=3))


def test_a_daemonic_process_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with pytest.raises(ConfigError, match=r"is in a daemonic process.*, which may not start others: take 1"):
        trained("egat", tmp_path, 2)
