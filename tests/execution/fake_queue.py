"""A queue of this machine: `sbatch` starts the script of a job at once, `scancel` ends it."""

from __future__ import annotations

import os
from pathlib import Path

# Each job is a session of its own, whose number is that of the job.
SBATCH = """#!/bin/sh
cp "$1" "{folder}/script-$$"
setsid sh "{folder}/script-$$" > "{folder}/output-$$" 2>&1 &
echo "submitted $!" >> "{folder}/queue.log"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
echo "cancelled $1" >> "{folder}/queue.log"
kill -- "-$1"
"""


def make_queue(folder: Path) -> str:
    """Make the programs of the queue in `folder`, which gets scripts and outputs too; return a PATH with them."""
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (folder / name).write_text(text.format(folder=folder))
        (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def history(folder: Path) -> list[str]:
    """Return what happened in the queue: lines with the word and the number of the job."""
    return (folder / "queue.log").read_text().splitlines()
