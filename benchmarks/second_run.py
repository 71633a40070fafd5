"""Time of a second stack with cached predictions of the same base models; no backend should be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Comparison, shown

BACKENDS = ("deepmd", "schnetpack", "calorine", "neppo")
PROGRAM = """
import json, sys
from elmlff_core.cli.main import main
main(sys.argv[1:])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def main() -> None:
    """Measure a run with an empty cache and a second one; base models of this folder are used, or trained first."""
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ) | {"ELMLFF_CACHE": folder}

        def stack(output: str) -> tuple[float, list[str]]:
            command = [sys.executable, "-c", PROGRAM, "stack", "--models", "dp1,painn,nep", "--meta", "linear"]
            started = time.perf_counter()
            result = subprocess.run(
                [*command, "--output", str(Path(folder) / output)], env=environment, stdout=subprocess.PIPE, check=True
            )
            return time.perf_counter() - started, json.loads(result.stdout.splitlines()[-1])

        stack("untimed")  # trains base models that are not trained yet
        for path in Path(folder).glob("features/*"):
            path.unlink()
        (first, _), (second, modules) = stack("first"), stack("second")
    imported = sorted(set(modules) & set(BACKENDS))
    Comparison(
        "second stack, linear", "first", shown(second), shown(first), float(len(imported)), 0.0, "at most",
        f"the ratio counts imported backends: {', '.join(imported) or 'none'}",
    ).print()  # fmt: skip


if __name__ == "__main__":
    main()
