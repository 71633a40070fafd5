"""Workers to be tested, other environments, and what is left of processes."""

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
    """Random structures; ``fatal=3`` marks structure 3 by ``info["fatal"]``."""
    rng = np.random.default_rng(0)
    structures = [Atoms("H" * n_atoms, rng.normal(size=(n_atoms, 3))) for _ in range(n_structures)]
    for mark, index in marks.items():
        structures[index].info[mark] = True
    return structures


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie, which waits only to be reaped, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether `condition` comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def children() -> set[int]:
    """Living processes that this one started, and not yet ended."""
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
    """Makes models whose calculator, of calculators.py here, runs in a worker; ends them, and checks that."""
    before = children()
    made: list[NamedModel] = []

    def make(calculator: str, python: str | None = "self", timeout: float = 60.0, **arguments: Any) -> NamedModel:
        options = {"calculator": calculator if ":" in calculator else f"{CALCULATORS}:{calculator}"}
        settings = ModelConfig(
            adapter="ase", python=python, timeout=timeout, options={**options, "arguments": arguments}
        )
        made.append(named_model("base model", settings))
        return made[-1]

    yield make
    for model in made:
        model.close()
    assert wait_until(lambda: children() <= before), "a worker was left behind"


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter of an environment with numpy and ase alone: elmlff is not there, nor pydantic or pluggy."""
    folder = tmp_path_factory.mktemp("bare") / "env"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=MAKE_SECONDS)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "numpy", "ase"]
    result = subprocess.run(install, capture_output=True, text=True, timeout=MAKE_SECONDS, check=False)
    if result.returncode != 0:
        pytest.skip(f"pip cannot install numpy and ase into a fresh environment: {result.stderr.strip()[-300:]}")
    return str(python)


@pytest.fixture
def calculators_for_others(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of the module tests/worker/calculators.py for interpreters that do not have these tests."""
    monkeypatch.setenv("PYTHONPATH", str(FORCE_FIELDS))
    return "calculators"
