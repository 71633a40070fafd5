"""Packages that cannot share an environment, by name and with the way out, and any versions that contradict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from packaging.version import Version

from elmlff_core.contracts.hookspecs import PROJECT
from elmlff_core.doctor.finding import Finding
from elmlff_core.plugins.requirements import installed_version, is_importable, requirements_of, unmet_versions

# Force fields that users install beside elmlff; their pins are what usually breaks the backends.
NEIGHBOURS = ("mace-torch", "chgnet", "matgl", "sevenn", "nequip", "orb-models", "mattersim", "fairchem-core")


def own_environment(package: str) -> str:
    """The way out that always works: an environment of its own."""
    folder = f"{package}-env"
    return (
        f"give it an environment of its own (python -m venv {folder} && {folder}/bin/pip install {package} ase numpy) "
        f'and set python = "{folder}/bin/python" under its [models.NAME]'
    )


@dataclass(frozen=True)
class Clash:
    """A clash that is known: whether it is here, what it does, and what to do."""

    subject: str
    is_here: Callable[[], bool]
    message: str
    remedy: str


def _both(first: str, second: str) -> Callable[[], bool]:
    return lambda: installed_version(first) is not None and installed_version(second) is not None


def _older(package: str, limit: str) -> Callable[[], bool]:
    def is_here() -> bool:
        found = installed_version(package)
        return found is not None and Version(found) < Version(limit)

    return is_here


KNOWN = (
    Clash(
        "mace-torch and deepmd-kit",
        _both("mace-torch", "deepmd-kit"),
        "mace-torch pins e3nn 0.4.4, deepmd-kit[torch] needs 0.5.9 or newer: whichever came last broke the other",
        own_environment("mace-torch"),
    ),
    Clash(
        "schnetpack before 2.2",
        _older("schnetpack", "2.2"),
        "it needs versions of e3nn and hydra that do not import here; pip takes it on Python 3.11 and older",
        'on Python 3.12 or newer: pip install "elmlff[schnet]"',
    ),
    Clash(
        "deepmd-kit without its PyTorch extra",
        lambda: installed_version("deepmd-kit") is not None and not is_importable("e3nn"),
        "deepmd-kit is installed without what its PyTorch models need",
        'pip install "elmlff[deepmd]"',
    ),
)


def clashes() -> Iterator[Finding]:
    """Known clashes that are here, then every requirement of a backend that the installed versions do not meet."""
    n_found = 0
    for clash in KNOWN:
        if clash.is_here():
            n_found += 1
            yield Finding("clashes", clash.subject, "wrong", clash.message, clash.remedy)
    for distribution, extra, remedy in _looked_at():
        for problem in unmet_versions(distribution, extra):
            n_found += 1
            yield Finding("clashes", distribution, "wrong", problem, remedy)
    if not n_found:
        yield Finding("clashes", "versions", "ok", "no clash among elmlff, its backends and known force fields")


def _looked_at() -> Iterator[tuple[str, str, str]]:
    """Distributions with the extra in question, and what to do where their requirements are not met."""
    yield PROJECT, "", "pip install --upgrade elmlff"
    seen = {PROJECT}
    for extra in ("deepmd", "schnet", "nep"):
        for requirement in requirements_of(PROJECT, [extra]):
            if requirement.name in seen or requirement.marker is None or "extra" not in str(requirement.marker):
                continue
            seen.add(requirement.name)
            yield requirement.name, next(iter(requirement.extras), ""), f'pip install "elmlff[{extra}]"'
    for package in NEIGHBOURS:
        if installed_version(package) is not None:
            yield package, "", own_environment(package)
