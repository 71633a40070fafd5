"""Base models trained and used for predictions side by side, compared with one after the other, up to the fits.

Each way has its own folder and cache, so that it does all the work; one after the other, each has all cores.  The time
ends with the last prediction, where the fits would begin.

    python benchmarks/side_by_side.py dp1,painn,nep methane
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from arguments import stacking_parser
from measuring import Comparison, shown

from elmlff_core.resources import n_cores

REACH = 1.6


def main() -> None:
    """Run both ways and print their ratio."""
    given = stacking_parser(__doc__).parse_args()
    settings = [word for one in given.set for word in ("--set", one)]
    arguments = ["--models", given.models, "--data", given.data, *settings]
    with tempfile.TemporaryDirectory() as folder:
        side_by_side = seconds(Path(folder) / "side-by-side", arguments, n_cores())
        one_by_one = seconds(Path(folder) / "one-by-one", arguments, 1)
    Comparison(
        f"{given.models} on {n_cores()} cores, side by side", "one after the other", shown(side_by_side),
        shown(one_by_one), one_by_one / side_by_side, REACH, "at least",
        "from the start of `elmlff stack` to its last prediction",
    ).print()  # fmt: skip


def seconds(folder: Path, arguments: list[str], n_workers: int) -> float:
    """Return the time from the start of `elmlff stack`, in an empty folder, to its last prediction."""
    folder.mkdir()
    command = [sys.executable, "-m", "elmlff_core", "stack", *arguments, "--meta", "mean", "--workers", str(n_workers)]
    environment = os.environ | {"ELMLFF_CACHE": str(folder / "cache")}
    started = time.time()  # the clock of the file system
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return max(path.stat().st_mtime for path in folder.rglob("cache/features/**/*.safetensors")) - started


if __name__ == "__main__":
    main()
