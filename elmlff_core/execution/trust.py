"""Whether settings of somebody else may decide where code runs."""

from __future__ import annotations

from pathlib import Path

from elmlff_core.errors import ElmlffError
from elmlff_core.execution.placement import NAMES
from elmlff_core.settings.config import ResourcesConfig


def refuse_executor(resources: ResourcesConfig, folder: Path, remedy: str, allowed: str | None = None) -> None:
    """Refuse settings in `folder` whose executor would run code that they name, or give tasks to another machine.

    Parameters
    ----------
    resources : where long steps run
    folder : the folder of the settings
    remedy : for the message, how the user allows it
    allowed : an executor that the user has named apart from the settings

    Raises
    ------
    ElmlffError
        The settings name a function, the address of a scheduler, or lines of a job script; the message says which, and
        has the remedy.
    """
    found = {
        "executor": resources.executor not in (*NAMES, allowed) and resources.executor,
        "address": resources.address,
        "job.lines": resources.job.lines,
        "job.directives": resources.job.directives,
    }
    for key, value in found.items():
        if value:
            raise ElmlffError(
                f"{folder} is not trusted: its setting resources.{key} = {value!r} decides which code runs, here or in "
                f"jobs; if you trust its origin, {remedy}"
            )
