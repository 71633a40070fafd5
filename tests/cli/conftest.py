"""Fixtures that run the command line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.running import run_elmlff


@pytest.fixture
def elmlff() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `elmlff` with arguments in a folder; keywords are environment variables."""

    def run(*arguments: str, folder: Path, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_elmlff(arguments, folder, 0 if check else None, **environment)

    return run
