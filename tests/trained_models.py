"""Structures, labels and tiny trained models for the tests of adapters and of physics."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.hookspecs import ForceFieldPlugin, LoadRequest
from elmlff_core.contracts.progress import Progress
from elmlff_core.contracts.protocols import BaseForceField, TrainingRequest

ADAPTER_MODULES = {"dp": "deepmd", "schnet": "schnetpack", "painn": "schnetpack", "nep": "nep", "ase": "ase"}
# Too small for real use, but with every component of the full models.
TINY: dict[str, dict[str, Any]] = {
    "dp": {
        "steps": 60, "neuron": [4, 8], "fitting_neuron": [16, 16], "axis_neuron": 2, "rcut": 4.0, "batch_size": 4,
        "sel": [40, 12],  # for denser structures than those of the training
    },
    "schnet": {"steps": 12, "n_atom_basis": 16, "n_interactions": 2, "batch_size": 8, "cutoff": 4.0},
    "painn": {"steps": 12, "n_atom_basis": 16, "n_interactions": 2, "batch_size": 8, "cutoff": 4.0},
    "nep": {"steps": 30, "neuron": 5, "basis_size": [4, 4], "radial_cutoff": 5.0, "batch_size": 8},
}  # fmt: skip


def find_plugin(adapter: str) -> ForceFieldPlugin:
    """Return the record of the adapter, or skip the test if its backend is not installed."""
    module = importlib.import_module(f"elmlff_plugins.{ADAPTER_MODULES[adapter]}.adapter")
    record = next(found for found in module.elmlff_force_fields() if found.name == adapter)
    for needed in (*record.requires, *(("neppo",) if adapter == "nep" else ())):
        pytest.importorskip(needed, reason=f"adapter {adapter} needs {needed}")
    return record


def labelled(structures: Sequence[Atoms]) -> Dataset:
    """Label structures by effective medium theory, with energies shifted to the magnitude of total energies."""
    calculator = EMT()
    forces, energy = [], []
    for atoms in structures:
        copy = Atoms(
            numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc, calculator=calculator
        )
        forces.append(copy.get_forces())
        energy.append(
            copy.get_potential_energy() - 38.0 * np.sum(atoms.numbers == 6) - 1.5 * np.sum(atoms.numbers == 1)
        )
    return Dataset.from_lists(list(structures), forces, energy, source="effective medium theory")


def rattled(name: str, n: int, seed: int, **keywords: Any) -> list[Atoms]:
    """Make copies of a molecule of ASE with random displacements of 0.05 Å in each coordinate."""
    rng = np.random.default_rng(seed)
    molecules = [molecule(name, **keywords) for _ in range(n)]
    for atoms in molecules:
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    return molecules


@pytest.fixture(scope="session")
def tiny_data() -> tuple[Dataset, Dataset]:
    """Make training and validation structures: methane and ethylene without a cell, methane in a periodic cell."""

    def make(n: int, seed: int) -> Dataset:
        periodic = rattled("CH4", n, seed, cell=[7.0, 7.5, 8.0], pbc=True)
        return labelled([*rattled("CH4", n, seed + 1), *rattled("C2H4", n, seed + 2), *periodic])

    return make(8, seed=0), make(3, seed=10)


@pytest.fixture(scope="session")
def training_request(tiny_data: tuple[Dataset, Dataset]) -> Callable[..., TrainingRequest]:
    """Return a function that makes requests to train a tiny model of an adapter on `tiny_data`."""

    def make(
        adapter: str, directory: Path, progress: Callable[[Progress], None] = lambda _: None, **options: Any
    ) -> TrainingRequest:
        train, valid = tiny_data
        directory.mkdir(exist_ok=True)
        settings = find_plugin(adapter).options(**(TINY[adapter] | options))
        return TrainingRequest(f"tiny-{adapter}", train, valid, settings, directory, 7, progress)

    return make


@pytest.fixture(scope="session")
def load() -> Callable[..., BaseForceField]:
    """Return a function that loads a checkpoint with an adapter, or skips the test if its backend is not installed."""

    def call(
        adapter: str,
        checkpoint: Path | None,
        name: str = "model",
        trust: bool = False,
        descriptors: bool = False,
        **options: Any,
    ) -> BaseForceField:
        record = find_plugin(adapter)
        return record.load(LoadRequest(name, checkpoint, record.options(**options), trust, descriptors))

    return call


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], Any]], Any]:
    """Return a function that makes something in a folder once, though several processes of one test run ask for it.

    It takes a name and a function of the folder, whose result must be data for JSON.
    """

    def call(name: str, make: Callable[[Path], Any]) -> Any:
        if "PYTEST_XDIST_WORKER" not in os.environ:
            return make(tmp_path_factory.mktemp(name))
        folder = tmp_path_factory.getbasetemp().parent / f"made-{name}"
        folder.mkdir(exist_ok=True)
        result = folder / "result.json"
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not result.exists():
                result.write_text(json.dumps(make(folder)))
            return json.loads(result.read_text())

    return call


@pytest.fixture(scope="session")
def resumed_dp(training_request: Callable[..., TrainingRequest], made_once: Callable[..., Any]) -> tuple[Path, int]:
    """Train a Deep Potential with one interruption; return its checkpoint and the step of the interruption."""
    trainer = find_plugin("dp").trainer
    assert trainer is not None

    def make(folder: Path) -> tuple[str, int]:
        reached = 0

        def interrupt(progress: Progress) -> None:
            nonlocal reached
            reached = progress.done
            if reached >= 4:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            trainer.train(training_request("dp", folder, interrupt))
        return str(trainer.train(training_request("dp", folder))), reached

    checkpoint, interrupted_at = made_once("dp", make)
    return Path(checkpoint), interrupted_at


@pytest.fixture(scope="session")
def trained(
    training_request: Callable[..., TrainingRequest],
    load: Callable[..., BaseForceField],
    made_once: Callable[..., Any],
    request: pytest.FixtureRequest,
) -> Callable[..., BaseForceField]:
    """Return a function that gives the tiny model of an adapter, trained once; SchNetPack models use float64.

    If they are asked for, its predictions have descriptors.
    """
    models: dict[tuple[str, bool], BaseForceField] = {}

    def get(adapter: str, descriptors: bool = False) -> BaseForceField:
        if (adapter, descriptors) not in models:
            trainer = find_plugin(adapter).trainer
            assert trainer is not None
            if adapter == "dp":
                checkpoint = request.getfixturevalue("resumed_dp")[0]
            else:
                train = trainer.train
                made = made_once(adapter, lambda folder: str(train(training_request(adapter, folder))))
                checkpoint = Path(made)
            precision = {"precision": "float64"} if adapter in ("schnet", "painn") else {}
            options = TINY[adapter] | precision
            models[adapter, descriptors] = load(
                adapter, checkpoint, f"tiny-{adapter}", descriptors=descriptors, **options
            )
        return models[adapter, descriptors]

    return get


@pytest.fixture(scope="session")
def methanol(shared: Path) -> Dataset:
    """Read every 150th frame of the paper's data for methanol on Cu(100)."""
    system = shared / "data" / "methanol-cu100" / "train"
    symbols = (system / "type_map.raw").read_text().split()
    numbers = Atoms([symbols[index] for index in np.loadtxt(system / "type.raw", dtype=int)]).numbers
    coordinates, boxes, forces, energy = (
        np.load(system / "set.000" / f"{name}.npy")[::150].astype(np.float64)
        for name in ("coord", "box", "force", "energy")
    )
    structures = [
        Atoms(numbers=numbers, positions=positions.reshape(-1, 3), cell=box.reshape(3, 3), pbc=True)
        for positions, box in zip(coordinates, boxes, strict=True)
    ]
    return Dataset(structures, forces.reshape(-1, 3), energy.reshape(-1), source="methanol-cu100")
