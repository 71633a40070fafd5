"""Versions of everything that numbers may depend on."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires

from elmlff_core.contracts.hookspecs import PROJECT
from elmlff_core.plugins.requirements import installed_version

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
