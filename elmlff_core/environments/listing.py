"""The environments that recipes describe and that are on this machine, and whether they are as their recipes say."""

from __future__ import annotations

import subprocess
from dataclasses import asdict, dataclass
from typing import Any, Literal

from elmlff_core.environments.creation import foreign_environment
from elmlff_core.environments.folder import environments_folder, find, installed, is_met_here
from elmlff_core.errors import PluginError
from elmlff_core.plugins.registry import registry

State = Literal["ready", "not here", "not needed", "outdated", "incomplete", "no recipe"]


@dataclass(frozen=True)
class EnvironmentEntry:
    """One environment in the list of ``elmlff env list``.

    Attributes
    ----------
    name, summary : of the recipe; the summary is "" if no plugin has one
    state : ``ready``; ``not here``; ``not needed`` if its packages are installed beside elmlff; ``outdated`` if the
        recipe has other requirements now; ``incomplete`` if its creation was interrupted; ``no recipe`` if the plugin
        that had one is not installed any more
    models : presets that run in it
    requirements : of the recipe, or as installed if there is none
    gigabytes : space that it takes, or about will take
    folder : where it is, or will be
    """

    name: str
    summary: str
    state: State
    models: list[str]
    requirements: list[str]
    gigabytes: float
    folder: str

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def list_environments() -> list[EnvironmentEntry]:
    """List the environments of all recipes, and those here without a recipe."""
    known = registry()
    entries = [_of_recipe(name) for name in known.environments]
    for made in installed():
        if made.name not in known.environments:
            record, folder = made.record, str(made.folder)
            entries.append(
                EnvironmentEntry(made.name, "", "no recipe", [], record["requirements"], record["bytes"] / 1e9, folder)
            )
    return entries


def models_in(environment: str) -> list[str]:
    """Return the names of the presets that run in `environment`."""
    return [name for name, (preset, _) in registry().presets.items() if preset.environment == environment]


def _of_recipe(name: str) -> EnvironmentEntry:
    recipe = registry().environment(name)
    folder = environments_folder() / name
    made = find(name)
    state: State = "incomplete" if folder.is_dir() else "not needed" if is_met_here(name) else "not here"
    gigabytes = recipe.gigabytes
    if made is not None:
        state = "ready" if made.record["requirements"] == list(recipe.requirements) else "outdated"
        gigabytes = made.record["bytes"] / 1e9
    return EnvironmentEntry(
        name, recipe.summary, state, models_in(name), list(recipe.requirements), round(gigabytes, 1), str(folder)
    )


def recipe_name(name: str) -> str:
    """Return the environment that `name` means: its own name, or that of a preset which runs in it.

    Raises
    ------
    PluginError
        There is no such environment or preset, or the preset runs in the environment of elmlff.
    """
    known = registry()
    if name in known.environments or name not in known.presets:
        return known.environment(name).name
    if not (environment := known.preset(name).environment):
        raise PluginError(f"the model '{name}' needs no environment: it runs in that of elmlff")
    return environment


def broken_requirements(name: str) -> str:
    """Return what pip says of packages that do not fit together in the environment `name`, or ""."""
    made = find(name)
    assert made is not None
    command = [str(made.python), "-m", "pip", "check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=foreign_environment())
    no_pip = "No module named pip" in found.stderr  # uv makes environments without it
    return "" if found.returncode == 0 or no_pip else found.stdout.strip()
