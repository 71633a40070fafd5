"""Packages that cannot share an environment: clashes known to plugins, and requirements that are not met."""

from __future__ import annotations

from collections.abc import Iterator

from elmlff_core.contracts.hookspecs import PROJECT
from elmlff_core.doctor.finding import Finding
from elmlff_core.plugins.loading import one_line
from elmlff_core.plugins.registry import Registry
from elmlff_core.plugins.requirements import requirements_of, unmet_versions


def clashes(found: Registry) -> Iterator[Finding]:
    """Yield known clashes in this environment, then each requirement of a backend that is not met.

    Parameters
    ----------
    found : registered plugins, with their clashes and the extras of their packages
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
        except Exception as error:  # a bug in the plugin must not end the checks
            message = f"the check of {origin} failed: {one_line(error)}"
            yield Finding("clashes", clash.subject, "wrong", message, "report this to its author")
            continue
        for message in messages:
            yield Finding("clashes", clash.subject, "wrong", message, clash.remedy)


def _unmet(found: Registry) -> Iterator[Finding]:
    for distribution, extra, remedy in _looked_at(found):
        for problem in unmet_versions(distribution, extra):
            yield Finding("clashes", distribution, "wrong", problem, remedy)


def _looked_at(found: Registry) -> Iterator[tuple[str, str, str]]:
    """Yield distributions to check, the extra of each, and the remedy for requirements that are not met."""
    yield PROJECT, "", "pip install --upgrade elmlff"
    seen = {PROJECT}
    extras = dict.fromkeys((origin.distribution, record.extra) for _, record, origin in found.records())
    for package, extra in extras:
        for requirement in requirements_of(package, [extra]) if extra else ():
            if requirement.name in seen or requirement.marker is None or "extra" not in str(requirement.marker):
                continue
            seen.add(requirement.name)
            yield requirement.name, next(iter(requirement.extras), ""), f'pip install "{package}[{extra}]"'
