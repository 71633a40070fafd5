"""A second stack of the same bases, their predictions cached: seconds, and whether a backend is imported at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Row, shown

BACKENDS = ("deepmd", "schnetpack", "calorine", "neppo")
PROGRAM = """
import json, sys
from elmlff_core.cli.main import main
main(sys.argv[1:])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def main() -> None:
    """The first run predicts into an empty cache; trained bases are those of this folder, or trained first."""
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ) | {"ELMLFF_CACHE": folder}

        def stack(output: str) -> tuple[float, list[str]]:
            command = [sys.executable, "-c", PROGRAM, "stack", "--models", "dp1,painn,nep", "--meta", "linear"]
            started = time.perf_counter()
            result = subprocess.run(
                [*command, "--output", str(Path(folder) / output)], env=environment, stdout=subprocess.PIPE, check=True
            )
            return time.perf_counter() - started, json.loads(result.stdout.splitlines()[-1])

        stack("untimed")  # trains what is not trained
        for path in Path(folder).glob("features/*"):
            path.unlink()
        (first, _), (second, modules) = stack("first"), stack("second")
    imported = sorted(set(modules) & set(BACKENDS))
    Row(
        "second stack, linear", "first", shown(second), shown(first), float(len(imported)), 0.0, "at most",
        f"the ratio counts imported backends: {', '.join(imported) or 'none'}",
    ).print()  # fmt: skip


if __name__ == "__main__":
    main()
