"""Provenance: settings, versions and the paper to cite, as the last sections of every page."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires

from elmlff_core.contracts.hookspecs import PROJECT
from elmlff_core.plugins.requirements import installed_version
from elmlff_core.report.page import Listing, Section, Table, Text

PAPER = (
    "B. Yin, Y. Yin, Y. W. Tang, H. Xiao, EL-MLFFs: Ensemble Learning of Machine Learning Force Fields, "
    "arXiv:2403.17507 (2024)."
)
CITING = "elmlff cite RUN prints the references of a run, those of its base models among them."
DEVELOPMENT = ('extra == "test"', 'extra == "pages"', 'extra == "docs"')


def versions() -> dict[str, str]:
    """Return the installed versions of Python, elmlff and its requirements with all extras, without importing them."""
    try:
        lines = requires(PROJECT) or []
    except PackageNotFoundError:
        lines = []  # elmlff runs from a folder without being installed
    names = {re.split(r"[\s\[<>=!~;(]", line)[0] for line in lines if not any(extra in line for extra in DEVELOPMENT)}
    found = {name: installed_version(name) for name in [PROJECT, *sorted(names - {PROJECT}, key=str.lower)]}
    return {"Python": platform.python_version()} | {name: version for name, version in found.items() if version}


def provenance(settings: str) -> list[Section]:
    """Return the last sections of a page, with settings, versions and what to cite.

    Parameters
    ----------
    settings : settings of the run, as TOML
    """
    table = Table(("package", "version"), list(versions().items()), text_columns=2)
    return [
        Section("Settings", [Listing(settings)]),
        Section("Versions", [table]),
        Section("How to cite", [Text(f"The method: {PAPER}"), Text(CITING)]),
    ]
