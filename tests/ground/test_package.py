"""What is published: links of the description on PyPI, the sdist, and files that repeat what pyproject.toml says."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
SOURCE = PROJECT["urls"]["Source"]
# Names on conda-forge that differ from those on PyPI.
CONDA = {"matplotlib": "matplotlib-base", "torch": "pytorch", "torch-geometric": "pytorch_geometric"}


@pytest.fixture(scope="module")
def description() -> str:
    """README.md as PyPI shows it."""
    absolute_links = runpy.run_path(str(REPOSITORY / "setup.py"))["absolute_links"]
    return absolute_links((REPOSITORY / "README.md").read_text(), SOURCE)


def test_every_link_of_the_description_is_absolute(description):
    targets = re.findall(r"\]\(([^)]+)\)", description)
    assert len(targets) > 10
    assert all(target.startswith("https://") for target in targets), targets


def test_links_and_pictures_lead_to_files_of_the_repository(description):
    found = re.findall(rf"(!?)\[[^\]]*\]\({re.escape(SOURCE)}/(\w+)/HEAD/([^)#]+)", description)
    assert ("!", "raw", "docs/images/parity.png") in found
    for picture, kind, path in found:
        assert kind == ("raw" if picture else "blob")
        assert (REPOSITORY / path).exists(), path


def test_links_that_are_absolute_stay():
    absolute_links = runpy.run_path(str(REPOSITORY / "setup.py"))["absolute_links"]
    text = "[a](https://a.b/c) [b](#part) ![c](d/e.png) [f](g.md#h)"
    expected = "[a](https://a.b/c) [b](#part) ![c](R/raw/HEAD/d/e.png) [f](R/blob/HEAD/g.md#h)"
    assert absolute_links(text, "R") == expected


@pytest.mark.parametrize(
    "file", ["README.md", "CITATION.cff", "conda/recipe.yaml", "docs/installation.md", "pyproject.toml"]
)
def test_the_address_is_the_same_everywhere(file):
    addresses = set(re.findall(r"https://github\.com/\w+/elmlff", (REPOSITORY / file).read_text()))
    assert addresses == {SOURCE}


def test_the_citation_file_agrees_with_the_package():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["title"] == PROJECT["name"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["abstract"].rstrip(".") == PROJECT["description"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_the_conda_recipe_has_the_requirements_of_the_package():
    recipe = yaml.safe_load((REPOSITORY / "conda" / "recipe.yaml").read_text())
    split = [re.fullmatch(r"([\w-]+)(.*)", requirement).groups() for requirement in PROJECT["dependencies"]]
    expected = [f"python {PROJECT['requires-python']}", *(f"{CONDA.get(name, name)} {pin}" for name, pin in split)]
    assert sorted(recipe["requirements"]["run"]) == sorted(expected)
    assert recipe["context"]["version"] == PROJECT["version"]
    (entry,) = recipe["build"]["python"]["entry_points"]
    assert entry == f"elmlff = {PROJECT['scripts']['elmlff']}"


def test_the_manifest_names_what_exists():
    lines = (REPOSITORY / "MANIFEST.in").read_text().splitlines()
    grafted = [line.split()[1] for line in lines if line.startswith("graft ")]
    included = [name for line in lines if line.startswith("include ") for name in line.split()[1:]]
    assert {"tests", "docs", "examples"} <= set(grafted)
    for name in [*grafted, *included]:
        assert (REPOSITORY / name).exists(), name
