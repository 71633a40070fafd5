"""The site has every page and every room, and builds without a warning."""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ground.test_rooms import PLUGINS, ROOMS, WORKFLOWS

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
# A notebook becomes a page when the site is built.
PAGES = sorted(path.relative_to(DOCS).with_suffix(".md").as_posix() for path in [*DOCS.rglob("*.md"), *NOTEBOOKS])
BUILT = (DOCS / "how-it-is-built.md").read_text()


def navigation() -> list[str]:
    """Pages named in the navigation of mkdocs.yml, in order."""
    settings = (REPOSITORY / "mkdocs.yml").read_text()
    return re.findall(r"[\w/-]+\.md$", settings[settings.index("\nnav:") :], re.MULTILINE)


def test_every_page_is_in_the_navigation_once():
    assert sorted(navigation()) == PAGES


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_have_no_outputs_and_their_code_compiles(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            source = "".join(cell["source"])
            if not source.startswith("%%bash"):
                compile(source, notebook.name, "exec")
    links = re.findall(r"\]\((\.\.?/[^)#]+|[\w-]+\.md)", "".join(line for cell in cells for line in cell["source"]))
    for link in links:
        target = notebook.parent / link
        assert target.exists() or target.with_suffix(".ipynb").exists(), link


@pytest.mark.parametrize("room", [*ROOMS, PLUGINS])
def test_every_room_has_a_paragraph(room):
    (paragraph,) = re.findall(rf"^\*\*`{room}`\*\* (.+?)^$", BUILT, re.MULTILINE | re.DOTALL)
    assert len(paragraph.split()) >= 8


def test_no_other_room_has_a_paragraph():
    assert set(re.findall(r"^\*\*`(\w+)`\*\*", BUILT, re.MULTILINE)) == {*ROOMS, PLUGINS}


def test_every_workflow_has_a_line():
    assert tuple(re.findall(r"^\| `(\w+)` \|", BUILT, re.MULTILINE)) == WORKFLOWS


def test_the_drawing_has_every_room():
    drawing = runpy.run_path(str(DOCS / "draw_rooms.py"))["drawing"]()
    assert set(re.findall(r"<text[^>]*>(\w+)</text>", drawing)) == {*ROOMS, PLUGINS}


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings", "nbconvert")),
    reason="comes with the extra 'docs'",
)
def test_the_site_builds_without_warnings_and_needs_no_network(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        loaded = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"?(https?://[^\"> ]+)", page.read_text())
        assert not loaded, f"{page.name} loads {loaded}"
