"""Fixtures that run the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def elmlff() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `elmlff` with arguments in a folder; keywords are environment variables."""

    def run(*arguments: str, folder: Path, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "elmlff_core", *arguments],
            cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run
