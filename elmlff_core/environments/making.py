"""Making environments for the user: what will be made is said first, and progress is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from elmlff_core.contracts.progress import Reporter
from elmlff_core.environments.creation import create, find_uv
from elmlff_core.environments.folder import Environment, environment_named, environments_folder, find, is_ready
from elmlff_core.environments.listing import models_in
from elmlff_core.plugins.registry import registry


def make_environment(
    name: str, reporter: Reporter, python: str | None = None, installer_options: Sequence[str] = ()
) -> Environment:
    """Make the environment `name`, unless it is there; parameters and errors as in `creation.create`."""
    recipe = registry().environment(name)
    if (found := find(name)) is not None:
        reporter.say(f"the environment {name} is there: {found.folder}")
        if found.record["requirements"] != list(recipe.requirements):
            reporter.say(
                f"it is outdated: to make it anew with {', '.join(recipe.requirements)}, remove it first with "
                f"`elmlff env remove {name}`"
            )
        return found
    models = ", ".join(models_in(name)) or recipe.summary
    installer = "uv" if find_uv() else "pip"
    reporter.say(
        f"environment {name}, for {models}: {', '.join(recipe.requirements)}, about {recipe.gigabytes:g} GB in "
        f"{environments_folder() / name}, with {installer}"
    )
    with reporter.progress(f"making {name}") as progress:
        made = create(recipe, progress, python, installer_options)
    seconds, gigabytes = made.record["seconds"], made.record["bytes"] / 1e9
    reporter.say(f"{name}: {gigabytes:.1f} GB, made in {seconds / 60:.1f} minutes")
    return made


def make_missing(pythons: Iterable[str | None], reporter: Reporter) -> None:
    """Make the environments that the settings `python` of base models name and that are not there."""
    names = [name for python in pythons if (name := environment_named(python)) is not None]
    for name in dict.fromkeys(names):
        if not is_ready(name):
            make_environment(name, reporter)
