"""What packages need and whether it is installed here, from their metadata alone: nothing is imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import InvalidRequirement, Requirement

from elmlff_core.contracts.hookspecs import PROJECT, ForceFieldPlugin, MetaModelPlugin


def installed_version(distribution: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def is_importable(module: str) -> bool:
    """Whether `module` can be found; of a dotted name the first part, since looking for the rest would import it."""
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def missing_requirements(record: ForceFieldPlugin | MetaModelPlugin) -> list[str]:
    """Packages of modules that `record` needs and that are not installed, without importing any."""
    return [module.partition(".")[0] for module in record.requires if not is_importable(module)]


def install_hint(record: ForceFieldPlugin | MetaModelPlugin, package: str = PROJECT) -> str:
    """The line that installs what `record` of `package` needs."""
    if record.extra:
        return f'pip install "{package}[{record.extra}]"'
    if package != PROJECT:
        return f"pip install {package}"  # pip adds what an installed package lacks
    return "pip install " + " ".join(module.partition(".")[0] for module in record.requires)


def own_environment(package: str) -> str:
    """The way out that always works where packages clash: an environment of its own for `package`."""
    folder = f"{package}-env"
    return (
        f"give it an environment of its own (python -m venv {folder} && {folder}/bin/pip install {package} ase numpy) "
        f'and set python = "{folder}/bin/python" under its [models.NAME]'
    )


def requirements_of(distribution: str, extras: Iterable[str] = ()) -> Iterator[Requirement]:
    """Requirements of an installed distribution that hold on this Python, with `extras` or without any."""
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        return
    wanted = [*extras] or [""]
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue  # of a packager's making, not the user's
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in wanted):
            yield requirement


def unmet_versions(distribution: str, extra: str = "") -> list[str]:
    """Installed versions that do not fit what `distribution`, with `extra` where given, asks for; one line each.

    What is not installed at all is not listed: a module may come from elsewhere than its usual distribution.
    """
    unmet = []
    for requirement in requirements_of(distribution, [extra] if extra else []):
        found = installed_version(requirement.name)
        if found is not None and not requirement.specifier.contains(found, prereleases=True):
            asking = f"{distribution}[{extra}]" if extra else distribution
            unmet.append(f"{requirement.name} {found} is installed, {asking} needs {requirement.specifier}")
    return unmet
