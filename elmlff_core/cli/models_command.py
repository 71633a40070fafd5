"""`elmlff models`: list the named models of elmlff.toml and the presets, and whether they are trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmlff_core.files import json_text

if TYPE_CHECKING:
    from elmlff_core.base_models.listing import ModelEntry

MOST_SYMBOLS = 12  # elements that the table lists one by one


@click.command("models")
@click.argument("name", required=False)
@click.option("--check", "check", metavar="NAME", help="Load one model and report whether that works.")
@click.option("--load", is_flag=True, help="Load all models with a checkpoint to show their elements and cutoffs.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="Settings file.  [default: elmlff.toml, if it exists]",
)
@click.option("--models-dir", type=click.Path(path_type=Path), help="Folder for trained base models.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    name: str | None, check: str | None, load: bool, config_file: Path | None, models_dir: Path | None, as_json: bool
) -> None:
    """List the models of the stack and of elmlff.toml, and the presets, or all that is known of the model NAME.

    Nothing is loaded without --load or --check.
    """
    from elmlff_core.base_models.listing import list_models
    from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER
    from elmlff_core.settings.reading import read_config

    entries = list_models(
        read_config(config_file),
        models_dir or DEFAULT_MODELS_FOLDER,
        load=load or check is not None,
        only=check or name,
    )
    if as_json:
        click.echo(json_text([entry.as_record() for entry in entries]))
    elif check is not None:
        click.echo(_one_line(entries[0]))
    elif name is not None:
        click.echo(_card(entries[0]))
    else:
        _print_table(entries)
    if check is not None and entries[0].problem:
        raise click.exceptions.Exit(1)


def _one_line(entry: ModelEntry) -> str:
    if entry.problem:
        return f"model '{entry.name}': failed: {entry.problem}"
    if entry.state == "not trained":
        return f"model '{entry.name}': not trained yet: elmlff train {entry.name}"
    elements = ", ".join(entry.elements) if entry.elements else "any or unknown"
    cutoff = "unknown" if entry.cutoff is None else f"{entry.cutoff:g} Å"
    return f"model '{entry.name}': OK: elements {elements}; cutoff {cutoff}"


def _card(entry: ModelEntry) -> str:
    """Return what is known of one model, a line for each fact."""
    facts = {
        "model": f"{entry.name}{', ' + entry.summary if entry.summary else ''}",
        "adapter": entry.adapter,
        "runs in": entry.python or "the environment of elmlff",
        "state": f"{entry.state}: {entry.problem}" if entry.problem else entry.state,
        "checkpoints": "\n".join(entry.checkpoints),
        "elements": " ".join(entry.elements or []) or "any or unknown",
        "cutoff": "" if entry.cutoff is None else f"{entry.cutoff:g} Å",
        "level of theory": entry.level_of_theory,
        "licence": entry.licence,
        "downloads": entry.download,
        "to cite": "\n".join(entry.citation),
    }
    width = max(map(len, facts))
    return "\n".join(
        f"{title:{width}}  {fact.replace(chr(10), chr(10) + ' ' * (width + 2))}"
        for title, fact in facts.items()
        if fact
    )


def _elements(entry: ModelEntry) -> str:
    """Return the elements of a model; of many, their number and the lightest and the heaviest."""
    known = entry.elements or []
    return " ".join(known) if len(known) <= MOST_SYMBOLS else f"{len(known)} elements, {known[0]} to {known[-1]}"


def _print_table(entries: list[ModelEntry]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from elmlff_core.cli.console import standard_console

    table = Table("name", "source", "adapter", "state", "checkpoint", "elements", "cutoff (Å)", "trained to, licence")
    for entry in entries:
        more = f" and {len(entry.checkpoints) - 1} more" if len(entry.checkpoints) > 1 else ""
        python = f"\nin {entry.python}" if entry.python else ""
        cells = (
            entry.name + " *" * entry.in_stack,
            entry.source,
            entry.adapter + python,
            f"{entry.state}: {entry.problem}" if entry.problem else entry.state,
            entry.checkpoints[0] + more if entry.checkpoints else "",
            _elements(entry),
            "" if entry.cutoff is None else f"{entry.cutoff:g}",
            "\n".join(filter(None, [entry.level_of_theory, entry.licence])),
        )
        table.add_row(*map(escape, cells))
    standard_console().print(table)
    click.echo(
        "* used by `elmlff stack` with these settings; --load shows elements and cutoffs of models with a checkpoint; "
        "`elmlff models NAME` shows all that is known of one"
    )
