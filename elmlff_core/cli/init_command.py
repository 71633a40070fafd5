"""`elmlff init`: write a commented elmlff.toml."""

from __future__ import annotations

import os
from pathlib import Path

import click

from elmlff_core.errors import ElmlffError


@click.command("init")
@click.option("--force", is_flag=True, help="Overwrite an existing elmlff.toml.")
def command(force: bool) -> None:
    """Write elmlff.toml to the current folder, with every setting, its default and its meaning.

    Beside it, elmlff.schema.json lets editors complete and check the file.
    """
    from importlib.resources import files

    from elmlff_core.files import write_json, write_text
    from elmlff_core.plugins.settings_schema import SCHEMA_FILE, settings_schema

    path = Path("elmlff.toml")
    text = (files("elmlff_core") / "templates" / "settings" / "elmlff.toml.txt").read_text(encoding="utf-8")
    if os.path.lexists(path) and not force:
        raise ElmlffError(f"{path} exists; --force overwrites it")
    write_text(path, text)
    write_json(path.with_name(SCHEMA_FILE), settings_schema(), indent=1)
    click.echo(f"wrote {path} with the default of every key; next: elmlff stack")
