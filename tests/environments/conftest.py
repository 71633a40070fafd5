"""An empty folder of environments, and recipes that install a wheel made here, so that no network is needed."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elmlff_core.contracts.hookspecs import EnvironmentRecipe
from elmlff_core.plugins.records import Origin
from elmlff_core.plugins.registry import registry


@pytest.fixture(autouse=True)
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of environments, which pip fills, whether or not uv is installed."""
    monkeypatch.setattr("elmlff_core.environments.creation.find_uv", lambda: None)
    folder = tmp_path / "environments"
    monkeypatch.setenv("ELMLFF_ENVIRONMENTS", str(folder))
    return folder


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel with the module ``tinyfield``, whose value is 42."""
    path = tmp_path / "tinyfield-1.0-py3-none-any.whl"
    info = "tinyfield-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tinyfield.py", "value = 42\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyfield\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def recipe(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., EnvironmentRecipe]:
    """Return a function that registers a recipe named ``tiny`` with the given fields."""

    def register(**fields: Any) -> EnvironmentRecipe:
        given: dict[str, Any] = {"requirements": (f"tinyfield @ {wheel.as_uri()}",), "gigabytes": 0.1, **fields}
        made = EnvironmentRecipe("tiny", "for tests", **given)
        monkeypatch.setitem(registry().environments, "tiny", (made, Origin("tests", "1", "tests")))
        return made

    return register
