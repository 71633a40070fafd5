"""Provenance: settings and versions, which numbers may depend on, as the last sections of every page."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires

from elmlff_core.contracts.hookspecs import PROJECT
from elmlff_core.plugins.requirements import installed_version
from elmlff_core.report.page import Listing, Section, Table

DEVELOPMENT = ('extra == "test"', 'extra == "docs"')


def versions() -> dict[str, str]:
    """Python, elmlff, and what elmlff and its extras ask for, as far as it is installed here; nothing is imported."""
    try:
        lines = requires(PROJECT) or []
    except PackageNotFoundError:
        lines = []  # run from a folder that is not installed
    names = {re.split(r"[\s\[<>=!~;(]", line)[0] for line in lines if not any(part in line for part in DEVELOPMENT)}
    found = {name: installed_version(name) for name in [PROJECT, *sorted(names - {PROJECT}, key=str.lower)]}
    return {"Python": platform.python_version()} | {name: version for name, version in found.items() if version}


def provenance(settings: str) -> list[Section]:
    """The last sections of a page.

    Parameters
    ----------
    settings : of the run, as TOML
    """
    table = Table(("package", "version"), list(versions().items()), text_columns=2)
    return [Section("Settings", [Listing(settings)]), Section("Versions", [table])]
