"""Packages that cannot share an environment: the clashes that plugins know of, and any versions that contradict."""

from __future__ import annotations

from collections.abc import Iterator

from elmlff_core.contracts.hookspecs import PROJECT
from elmlff_core.doctor.finding import Finding
from elmlff_core.plugins.loading import one_line
from elmlff_core.plugins.registry import Registry
from elmlff_core.plugins.requirements import requirements_of, unmet_versions


def clashes(found: Registry) -> Iterator[Finding]:
    """Known clashes that are here, then every requirement of a backend that the installed versions do not meet.

    Parameters
    ----------
    found : the plugins, which name clashes and the extras of their packages
    """
    n_found = 0
    for finding in (*_known(found), *_unmet(found)):
        n_found += 1
        yield finding
    if not n_found:
        yield Finding("clashes", "versions", "ok", "no clash among elmlff, its backends and known force fields")


def _known(found: Registry) -> Iterator[Finding]:
    for clash, origin in found.clashes:
        try:
            messages = clash.find().splitlines()
        except Exception as error:  # the plugin's own fault; the examination goes on
            message = f"{origin} cannot tell whether this is here: {one_line(error)}"
            yield Finding("clashes", clash.subject, "wrong", message, "tell its author")
            continue
        for message in messages:
            yield Finding("clashes", clash.subject, "wrong", message, clash.remedy)


def _unmet(found: Registry) -> Iterator[Finding]:
    for distribution, extra, remedy in _looked_at(found):
        for problem in unmet_versions(distribution, extra):
            yield Finding("clashes", distribution, "wrong", problem, remedy)


def _looked_at(found: Registry) -> Iterator[tuple[str, str, str]]:
    """Distributions with the extra in question, and what to do where their requirements are not met."""
    yield PROJECT, "", "pip install --upgrade elmlff"
    seen = {PROJECT}
    extras = dict.fromkeys((origin.distribution, record.extra) for _, record, origin in found.records())
    for package, extra in extras:
        for requirement in requirements_of(package, [extra]) if extra else ():
            if requirement.name in seen or requirement.marker is None or "extra" not in str(requirement.marker):
                continue
            seen.add(requirement.name)
            yield requirement.name, next(iter(requirement.extras), ""), f'pip install "{package}[{extra}]"'
