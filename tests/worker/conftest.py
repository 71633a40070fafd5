"""Fixtures for tests of workers: models in workers, other environments, and checks of running processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from elmlff_core.base_models.named import NamedModel, named_model
from elmlff_core.settings.config import ModelConfig

CALCULATORS = "tests.worker.calculators"
FORCE_FIELDS = Path(__file__).parent
MAKE_SECONDS = 300


def spring(n_structures: int, n_atoms: int = 5, **marks: int) -> list[Atoms]:
    """Make random structures; ``fatal=3`` marks structure 3 by ``info["fatal"]``."""
    rng = np.random.default_rng(0)
    structures = [Atoms("H" * n_atoms, rng.normal(size=(n_atoms, 3))) for _ in range(n_structures)]
    for mark, index in marks.items():
        structures[index].info[mark] = True
    return structures


def is_alive(pid: int) -> bool:
    """Whether a process runs; zombie processes do not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait until `condition` is true; return whether that happened in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def children() -> set[int]:
    """Return the ids of running processes that this process started."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == os.getpid() and is_alive(int(entry.name)):
                found.add(int(entry.name))
    return found


@pytest.fixture
def worker() -> Iterator[Callable[..., NamedModel]]:
    """Return a function that makes models with a calculator in a worker; check afterwards that all workers end."""
    before = children()
    models: list[NamedModel] = []

    def make(calculator: str, python: str | None = "self", timeout: float = 60.0, **arguments: Any) -> NamedModel:
        options = {"calculator": calculator if ":" in calculator else f"{CALCULATORS}:{calculator}"}
        settings = ModelConfig(
            adapter="ase", python=python, timeout=timeout, options={**options, "arguments": arguments}
        )
        models.append(named_model("tested", settings))
        return models[-1]

    yield make
    for model in models:
        model.close()
    assert wait_until(lambda: children() <= before), "a worker is still running"


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make an environment with what ASE imports, without elmlff and its requirements; return its interpreter."""
    folder = tmp_path_factory.mktemp("bare") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=MAKE_SECONDS)
    python = folder / "bin" / "python"
    # Without what ASE needs for plots alone, and without compiling all files: this takes a fifth of the time.
    options = ("--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", *options, "numpy", "scipy", "ase"]
    result = subprocess.run(install, capture_output=True, text=True, timeout=MAKE_SECONDS, check=False)
    if result.returncode != 0:
        pytest.skip(f"pip cannot install numpy and ase into a fresh environment: {result.stderr.strip()[-300:]}")
    return str(python)


@pytest.fixture
def calculators_for_others(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of the module tests/worker/calculators.py for interpreters that cannot import `tests`."""
    monkeypatch.setenv("PYTHONPATH", str(FORCE_FIELDS))
    return "calculators"
