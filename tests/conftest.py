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

pytest_plugins = ["tests.trained_models", "tests.methane_run"]
REPOSITORY = Path(__file__).resolve().parents[1]

# What takes longest comes first, so that no worker of pytest-xdist is left with it at the end while the others wait.
# Files that use what another file has made (base models, a run) stand well after that one.
SLOW_FILES = (
    "cli/test_stack.py", "physics/test_symmetries.py", "cli/test_reproduce.py", "cli/test_sweep.py",
    "adapters/test_universal_models.py", "fuzz/test_fuzz.py", "adapters/test_deepmd_adapter.py",
    "adapters/test_nep_adapter.py", "docs/test_readme.py", "cli/test_comparison.py", "fuzz/test_plain_mistakes.py",
    "cli/test_simulation.py", "base_models/test_out_of_fold.py", "docs/test_tutorials.py", "meta/test_egat.py",
    "installed/test_isolation.py", "cli/test_doctor.py", "base_models/test_second_run.py",
)  # fmt: skip

# A trust store of the tests' own, for the processes that they start too; it is removed at the end of this one.
TRUST = tempfile.TemporaryDirectory(prefix="elmlff-trust-")
os.environ.setdefault("ELMLFF_TRUST_STORE", str(Path(TRUST.name) / "trust.json"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A background job of a shell ignores Ctrl-C, and so would the programs that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files of a run in several processes; `make test` asks pytest-xdist to keep this order."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        places = {REPOSITORY / "tests" / name: place for place, name in enumerate(SLOW_FILES)}
        items.sort(key=lambda item: places.get(item.path, len(places)))


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
