"""`elmlff env`: virtual environments for base models whose packages clash with others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from elmlff_core.files import json_text

if TYPE_CHECKING:
    from elmlff_core.cli.console import ConsoleReporter


@click.group("env", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Make, check and remove the environments in which universal force fields run."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command("create", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.option("--python", metavar="PATH", help="Interpreter.  [default: that of elmlff]")
@click.argument("installer_options", nargs=-1, type=click.UNPROCESSED)
def create_command(name: str, python: str | None, installer_options: tuple[str, ...]) -> None:
    """Make the environment NAME, or that of the model NAME, with uv where it is installed, otherwise with pip.

    Options after -- are those of the installer, as in `elmlff env create chgnet -- --torch-backend cpu` with uv.
    """
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.environments.listing import recipe_name
    from elmlff_core.environments.making import make_environment

    reporter = ConsoleReporter()
    environment = recipe_name(name)
    make_environment(environment, reporter, python, installer_options)
    _check(environment, reporter, with_downloads=False)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_command(as_json: bool) -> None:
    """List the environments, the models that run in them, and which are on this machine."""
    from elmlff_core.cli.console import print_table, standard_console
    from elmlff_core.environments.folder import environments_folder
    from elmlff_core.environments.listing import list_environments
    from elmlff_core.report.page import Table

    entries = list_environments()
    if as_json:
        click.echo(json_text([entry.as_record() for entry in entries]))
        return
    rows = [
        [entry.name, ", ".join(entry.models), entry.state, f"{entry.gigabytes:.1f}", ", ".join(entry.requirements)]
        for entry in entries
    ]
    head = ["environment", "models", "state", "GB", "installs"]
    print_table(standard_console(), Table(head, rows, text_columns=3))
    click.echo(f"stored in {environments_folder()}; `elmlff env create NAME` makes one")


@command.command("check")
@click.argument("name", required=False)
def check_command(name: str | None) -> None:
    """Load every model of the environment NAME, or of all that are here, and report whether that works."""
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.environments.folder import installed
    from elmlff_core.environments.listing import recipe_name

    names = [environment.name for environment in installed()] if name is None else [recipe_name(name)]
    if not names:
        click.echo("no environment is here: `elmlff env list` shows those that can be made")
    reporter = ConsoleReporter()
    found = [_check(environment, reporter) for environment in names]  # all are checked, whatever the first is like
    if not all(found):
        raise click.exceptions.Exit(1)


@command.command("remove")
@click.argument("name")
def remove_command(name: str) -> None:
    """Remove the environment NAME, or that of the model NAME."""
    from elmlff_core.environments.creation import remove
    from elmlff_core.environments.folder import environments_folder
    from elmlff_core.environments.listing import recipe_name

    environment = name if (environments_folder() / name).is_dir() else recipe_name(name)
    click.echo(f"removed {remove(environment)}")


def _check(environment: str, reporter: ConsoleReporter, with_downloads: bool = True) -> bool:
    """Load the models of an environment and say how that went; return whether all could be loaded.

    Models whose weights would have to be downloaded are left out, unless `with_downloads`.
    """
    from elmlff_core.base_models.listing import list_models
    from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER
    from elmlff_core.environments.listing import broken_requirements, models_in
    from elmlff_core.plugins.registry import registry
    from elmlff_core.settings.config import Config

    fine = True
    for name in models_in(environment):
        download = registry().preset(name).download
        if download and not with_downloads:
            reporter.say(f"{name}: not loaded yet; the first use downloads {download}")
            continue
        (entry,) = list_models(Config(), DEFAULT_MODELS_FOLDER, load=True, only=name)
        fine = fine and not entry.problem
        reporter.say(f"{name}: {'failed: ' + entry.problem if entry.problem else 'OK'}")
    if clash := broken_requirements(environment):
        reporter.warn(f"pip finds in the environment {environment}: {clash}")
    return fine
