"""Requirements of packages, and whether they are installed, from metadata alone: nothing is imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import InvalidRequirement, Requirement

from elmlff_core.contracts.hookspecs import PROJECT, ForceFieldPlugin, MetaModelPlugin


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def is_importable(module: str) -> bool:
    """Whether `module` can be found; of a dotted name only the first part, because a full search would import it."""
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def missing_requirements(record: ForceFieldPlugin | MetaModelPlugin) -> list[str]:
    """Return the packages that `record` needs and that are not installed, without importing any."""
    return [module.partition(".")[0] for module in record.requires if not is_importable(module)]


def install_hint(record: ForceFieldPlugin | MetaModelPlugin, package: str = PROJECT) -> str:
    """Return the command that installs the requirements of `record` from `package`."""
    if record.extra:
        return f'pip install "{package}[{record.extra}]"'
    if package != PROJECT:
        return f"pip install {package}"  # pip also installs missing requirements of an installed package
    return "pip install " + " ".join(module.partition(".")[0] for module in record.requires)


def own_environment(package: str) -> str:
    """Return the advice that always works for clashing packages: a separate environment for `package`."""
    folder = f"{package}-env"
    return (
        f"give it an environment of its own (python -m venv {folder} && {folder}/bin/pip install {package} ase numpy) "
        f'and set python = "{folder}/bin/python" under its [models.NAME]'
    )


def requirements_of(distribution: str, extras: Iterable[str] = ()) -> Iterator[Requirement]:
    """Yield the requirements of an installed distribution that apply to this Python, with `extras` or without any."""
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        return
    wanted = [*extras] or [""]
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue  # an error of the packager, which the user cannot fix
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in wanted):
            yield requirement


def unmet_versions(distribution: str, extra: str = "") -> list[str]:
    """List installed versions that do not satisfy the requirements of `distribution`, or of its `extra`; one line each.

    Packages that are not installed are not listed: a module may come from another than its usual distribution.
    """
    unmet = []
    for requirement in requirements_of(distribution, [extra] if extra else []):
        found = installed_version(requirement.name)
        if found is not None and not requirement.specifier.contains(found, prereleases=True):
            dependent = f"{distribution}[{extra}]" if extra else distribution
            unmet.append(f"{requirement.name} {found} is installed, {dependent} needs {requirement.specifier}")
    return unmet
