"""`elmlff init`: a commented elmlff.toml."""

from __future__ import annotations

from pathlib import Path

import click

from elmlff_core.errors import ElmlffError


@click.command("init")
@click.option("--force", is_flag=True, help="Write over an elmlff.toml that is there.")
def command(force: bool) -> None:
    """Write elmlff.toml to the current folder: every setting with its default and what it means."""
    from importlib.resources import files

    path = Path("elmlff.toml")
    text = (files("elmlff_core") / "templates" / "settings" / "elmlff.toml.txt").read_text(encoding="utf-8")
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ElmlffError(f"{path} exists; --force writes over it") from error
    except OSError as error:
        raise ElmlffError(f"cannot write {path}: {error}") from error
    click.echo(f"wrote {path}: every key with its default; next: elmlff stack")
