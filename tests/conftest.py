"""Shared fixtures: a separate cache, the folder of the paper's data, and small features with a known reference."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from tests.commands.running import close_commands

pytest_plugins = ["tests.trained_models"]
REPOSITORY = Path(__file__).resolve().parents[1]

# A trust store of the tests' own, for the processes that they start too.
os.environ.setdefault("ELMLFF_TRUST_STORE", str(Path(tempfile.mkdtemp(prefix="elmlff-trust-")) / "trust.json"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A background job of a shell ignores Ctrl-C, and so would the programs that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish() -> None:
    close_commands()


def shared_folder() -> Path:
    """Return the folder of the paper's data and checkpoints: $ELMLFF_SHARED, or the folder "shared" beside this one.

    They are not part of the project.
    """
    return Path(os.environ.get("ELMLFF_SHARED", REPOSITORY.parent / "shared"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a temporary cache, so that tests never read or write the user's feature cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ELMLFF_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of the paper's data, or skip the test if it does not exist."""
    folder = shared_folder()
    if not (folder / "data").is_dir():
        pytest.skip(f"the paper's data are not in {folder}: set ELMLFF_SHARED to their folder")
    return folder


def random_molecules(n_structures: int, seed: int = 0, symbols: str = "CH4") -> list[Atoms]:
    """Make molecules with random positions within a few Å."""
    rng = np.random.default_rng(seed)
    molecules = [Atoms(symbols) for _ in range(n_structures)]
    for atoms in molecules:
        atoms.positions = rng.normal(scale=1.5, size=(len(atoms), 3))
    return molecules


def synthetic_features(
    n_structures: int = 24, n_models: int = 3, seed: int = 0, symbols: str = "CH4", noise: float = 0.05
) -> Features:
    """Make features with random reference forces, and base models with errors that are a smooth function of them."""
    rng = np.random.default_rng(seed)
    structures = random_molecules(n_structures, seed, symbols)
    n_atoms = np.array([len(atoms) for atoms in structures])
    reference = rng.normal(size=(n_atoms.sum(), 3))
    forces = np.stack(
        [
            (1 + 0.1 * m) * reference + 0.1 * np.sin(3 * reference + m) + noise * rng.normal(size=reference.shape)
            for m in range(n_models)
        ]
    )
    energy = rng.normal(size=n_structures)
    energies = {f"m{m}": energy + 3.0 * m for m in range(n_models)}
    return Features(structures, tuple(energies), forces, energies, Prediction(n_atoms, reference, energy), "synthetic")
