"""Run the notebooks of the documentation, each in a folder of its own, into build/notebooks: part of `make docs`.

The notebooks in docs/notebooks have no outputs, so that a change of one shows what was changed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parent
EXECUTED = DOCS.parent / "build" / "notebooks"
TIMEOUT = 900  # s, for a cell


def main(names: list[str]) -> None:
    """Run the notebooks called `names`, or all; an error in a cell ends the program with its traceback."""
    # Commands of the notebooks are those of this environment.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["PYTHONWARNINGS"] = "ignore"  # those of libraries, which readers of a page cannot mend
    EXECUTED.mkdir(parents=True, exist_ok=True)
    for path in sorted((DOCS / "notebooks").glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        started = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as own:
            # Not those of the user: the notebooks train and trust nothing that he keeps.
            os.environ |= {"ELMLFF_CACHE": own, "ELMLFF_TRUST_STORE": f"{own}/trust.json"}
            resources = {"metadata": {"path": folder}}
            NotebookClient(notebook, timeout=TIMEOUT, resources=resources, coalesce_streams=True).execute()
        nbformat.write(notebook, EXECUTED / path.name)
        print(f"{path.name}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
