"""Hook of mkdocs: a page for every notebook, with the outputs of `docs/run_notebooks.py` if it was run before."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

DOCS = Path(__file__).resolve().parent
EXECUTED = DOCS.parent / "build" / "notebooks"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
NOT_RUN = "!!! note\n    This page was built without running the notebook; `make docs` runs it.\n\n"


def on_files(files: Files, config: Any) -> Files:
    """Add a page, and its pictures, for every notebook in docs/notebooks; the notebook itself is a file of the site."""
    for source in sorted((DOCS / "notebooks").glob("*.ipynb")):
        executed = EXECUTED / source.name
        notebook = nbformat.read(executed if is_current(executed, source) else source, as_version=4)
        text, pictures = converted(notebook, source.stem)
        files.append(File.generated(config, f"notebooks/{source.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def is_current(executed: Path, source: Path) -> bool:
    """Whether `executed` holds the outputs of the notebook as it is now."""
    if not executed.exists():
        return False
    ran, now = (nbformat.read(path, as_version=4).cells for path in (executed, source))
    return [cell.source for cell in ran] == [cell.source for cell in now]


def converted(notebook: nbformat.NotebookNode, name: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by their paths."""
    resources = {"unique_key": name, "output_files_dir": f"{name}_files"}
    text, found = MarkdownExporter().from_notebook_node(notebook, resources)
    # A cell of the shell is shown as what one types into it.
    text = re.sub(r"```\w*\n%%bash\n", "```sh\n", COLOURS.sub("", text))
    has_run = any(cell.get("outputs") for cell in notebook.cells)
    title, rest = text.split("\n", 1)
    download = f"[Download this notebook]({name}.ipynb)\n\n"
    return f"{title}\n\n{'' if has_run else NOT_RUN}{download}{rest}", found.get("outputs", {})
