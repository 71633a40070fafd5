"""One run of `elmlff stack` on the embedded methane data, with tiny budgets, whose trained base models others copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands.running import run_elmlff

MODELS = "dp1,painn,nep"
TINY_BASE_MODELS = (
    *("--set", "models.dp1.options.steps=24"),
    *("--set", "models.painn.options.steps=27"),
    *("--set", "models.painn.options.n_atom_basis=16"),
    *("--set", "models.nep.options.steps=24"),
)
TINY = (
    *TINY_BASE_MODELS,
    *("--set", "meta.width=16"),
    *("--set", "meta.layers=2"),
    *("--set", "training.epochs=6"),
    *("--set", "training.batch_size=64"),
    *("--set", "training.device=cpu"),
)


@pytest.fixture(scope="session")
def methane_run(made_once: Callable[..., Any]) -> Path:
    """Return a folder with ``run``, what it has printed (``stdout``), and a copy of its base models (``trained``)."""

    def make(folder: Path) -> str:
        arguments = ("stack", "--models", MODELS, *TINY, "--output", "run")
        (folder / "stdout").write_text(run_elmlff(arguments, folder, ELMLFF_CACHE=str(folder / "cache")).stdout)
        for name in ("elmlff-models", "cache"):  # other processes copy them while a test works in the folder
            shutil.copytree(folder / name, folder / "trained" / name)
        return str(folder)

    return Path(made_once("methane", make))


def copy_base_models(methane_run: Path, folder: Path) -> None:
    """Copy the base models and their predictions to an empty folder, where commands with the same budgets find them."""
    shutil.copytree(methane_run / "trained", folder, dirs_exist_ok=True)
