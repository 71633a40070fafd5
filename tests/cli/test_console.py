"""Progress on the console: bars on terminals only, lines elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = """
from elmlff_core.cli.console import ConsoleReporter
from elmlff_core.contracts.progress import Progress
with ConsoleReporter().progress("training") as report:
    for done in range(1, 4):
        report(Progress(done, 3, "error 0.1"))
"""


def test_a_pipe_that_asks_for_colours_gets_no_bars():
    """Jupyter sets FORCE_COLOR for the commands of a notebook, whose output is no terminal."""
    environment = os.environ | {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    assert "\x1b[2K" not in done.stdout  # erases a line, to draw the bar again
