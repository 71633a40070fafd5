"""Options that several commands share, and the settings made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elmlff_core.errors import ConfigError

if TYPE_CHECKING:
    from elmlff_core.contracts.progress import Reporter
    from elmlff_core.execution.placement import Placement
    from elmlff_core.settings.config import Config
    from elmlff_core.simulation.guard import Guard

Decorated = Callable[..., Any]
# Options of commands that are settings of the same name.
OF_CONFIG = ("budget", "seed", "geometry_only", "seeds", "average", "folds", "descriptors")

settings_options = [
    click.option(
        "--config", "config_file", type=click.Path(), help="Settings file.  [default: elmlff.toml, if it exists]"
    ),
    click.option("--budget", type=click.Choice(["quick", "long", "paper"]), help="Length of the trainings."),
    click.option("--seed", type=click.IntRange(min=0), help="Seed of initial weights and batches."),
    click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Override a setting."),
    click.option("--trust", is_flag=True, help="Allow settings of another folder to run code that they name."),
]
data_options = [
    click.option(
        "--data", help="Labelled structures: file, deepmd/npy folder, 'methane', or a name from `elmlff data list`."
    ),
    click.option("--test", help="Test structures.  [default: a fraction of the data is held out]"),
    click.option(
        "--split", type=click.Choice(["random", "blocks", "clusters"]), help="How held-out structures are chosen."
    ),
    click.option("--energy-key", help="Name of the energy labels, if it is not the usual one."),
    click.option("--forces-key", help="Name of the force labels, if it is not the usual one."),
]
base_model_options = [
    click.option("--models", help="Names of the base models, comma-separated: dp1,painn,nep."),
    click.option(
        "--folds",
        type=click.IntRange(min=2),
        help="Number of folds on which base models are retrained, for out-of-fold features.",
    ),
    click.option(
        "--create-environments",
        is_flag=True,
        help="Make the environments in which base models run, if they are missing.",
    ),
]
placement_options = [
    click.option(
        "--executor",
        help="Where long steps run: processes, serial, dask, dask-slurm, dask-pbs, dask-lsf, parsl, or a function of "
        "yours as module:function.  [default: processes]",
    ),
    click.option(
        "--workers", type=click.IntRange(min=1),
        help="Number of worker processes; 1 runs one step after the other.  [default: number of GPUs, or of cores]",
    ),
]  # fmt: skip
workflow_options = [
    *placement_options,
    click.option("--dry-run", is_flag=True, help="Show the steps and how long they take, and do nothing."),
]
trust_option = click.option("--trust", is_flag=True, help="Allow base models of the stack to run code from its author.")
loading_options = [
    trust_option,
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
        help="Where the network of the stack runs; base models have settings of their own.",
    ),
]  # fmt: skip
STOPPED = 3  # exit code where a guard has ended a simulation
guard_options = [
    click.option("--stop-above", type=float, help="End where the uncertainty of an atom passes this, eV/Å."),
    click.option("--warn-above", type=float, help="Say it where the uncertainty of an atom passes this, eV/Å."),
]
models_folder_option = click.option(
    "--models-dir", type=click.Path(path_type=Path), help="Folder for trained base models."
)
folder_options = [
    click.option("--output", type=click.Path(path_type=Path), help="Output folder."),
    models_folder_option,
]


def options(*groups: Iterable[Callable[[Any], Any]]) -> Callable[[Decorated], Decorated]:
    """Return a decorator that adds the options of all `groups`, in this order."""

    def decorate(function: Decorated) -> Decorated:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


def config_from(values: dict[str, Any]) -> Config:
    """Return the settings from the options of a command; options that it does not have change nothing."""
    from elmlff_core.settings.reading import read_config

    overlay = {
        "data": {
            "train": values["data"],
            "test": values["test"],
            "split": values["split"],
            "energy_key": values["energy_key"],
            "forces_key": values["forces_key"],
            "earlier_run": values.get("earlier_run"),
        },
        "base_models": names_in(values.get("models")),
        "meta": {"name": values["meta"]} if values.get("meta") else None,
        "resources": resources_from(values.get("executor"), values.get("workers")),
        **{key: values.get(key) for key in OF_CONFIG},
    }
    path = Path(values["config_file"]) if values["config_file"] else None
    config = read_config(path, overlay, values["assignments"])
    if values.get("create_environments"):
        create_environments(config)
    refuse_code_of_others(config, path, values["trust"], values.get("executor"))
    return config


def create_environments(config: Config) -> None:
    """Make the environments of the base models in the settings that are not there."""
    from elmlff_core.base_models.named import model_settings, with_base_models
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.environments.making import make_missing
    from elmlff_core.plugins.registry import registry

    names = with_base_models(config).base_models
    known = {*config.models, *registry().presets}
    make_missing([model_settings(config, name).python for name in names if name in known], ConsoleReporter())


def refuse_code_of_others(config: Config, path: Path | None, trust: bool, executor: str | None) -> None:
    """Refuse settings of a folder that is not the current one, or of an earlier run, with code that is not allowed.

    `executor` is the one that the user has named on the command line, which is allowed.  ElmlffError names the model or
    the key, what it would run, and how to allow it.
    """
    if trust:
        return
    if config.data.earlier_run is not None:
        from elmlff_core.settings.inheritance import read_generation

        earlier = Path(config.data.earlier_run)
        inherited = read_generation(earlier)["settings"].get("models", {})
        _refuse_models(config, earlier, [name for name in config.base_models if name in inherited])
    if path is None:
        return
    from elmlff_core.base_models.named import with_base_models
    from elmlff_core.execution.trust import refuse_executor

    folder = path.resolve().parent
    if folder == Path.cwd().resolve():
        return
    refuse_executor(config.resources, folder, "say --trust", executor)
    _refuse_models(config, folder, with_base_models(config).base_models)


def _refuse_models(config: Config, folder: Path, names: Iterable[str]) -> None:
    from elmlff_core.base_models.named import resolve_model
    from elmlff_core.base_models.trust import refuse_untrusted

    models = [resolve_model(config, name) for name in names]
    refuse_untrusted([model for model in models if not model.needs_training], folder, "say --trust")


def names_in(text: str | None) -> list[str] | None:
    """Split a comma-separated list of names; None if the option was not given."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def guard_from(stop_above: float | None, warn_above: float | None) -> Guard:
    """Return the guard from `guard_options`; ConfigError if both are given."""
    from elmlff_core.simulation.guard import Guard

    if None not in (stop_above, warn_above):
        raise ConfigError("give --stop-above or --warn-above, not both")
    return Guard(warn_above, "warn") if stop_above is None else Guard(stop_above)


def resources_from(executor: str | None, workers: int | None) -> dict[str, Any]:
    """Return settings on where long steps run, from `placement_options`; those that were not given are None."""
    return {"executor": executor, "workers": workers}


def placement_from(executor: str | None, workers: int | None) -> Placement:
    """Return where predictions run, from `placement_options` and the settings in the current folder, if there are any.

    ConfigError if the executor cannot be opened.
    """
    from elmlff_core.execution.executors import check_executor
    from elmlff_core.execution.placement import Placement
    from elmlff_core.settings.reading import read_config

    placement = Placement.of(read_config(None, {"resources": resources_from(executor, workers)}).resources)
    check_executor(placement)
    return placement


def models_folder_from(models_dir: Path | None) -> Path:
    """Return the folder for trained base models."""
    from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER

    return models_dir or DEFAULT_MODELS_FOLDER


def say_which_data(config: Config, values: dict[str, Any], reporter: Reporter) -> None:
    """Report which data are used if the user named none."""
    if not values["data"] and "train" not in config.data.model_fields_set:
        reporter.say("no data named: using the embedded example 'methane' (name yours with --data)")
