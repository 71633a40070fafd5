"""`elmlff new-adapter NAME`: the package of a new adapter, to be filled in."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("new-adapter")
@click.argument("name")
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write.  [default: NAME]")
def command(name: str, output: Path | None) -> None:
    """Write a small package with the adapter NAME: a force field that works, for you to replace by yours."""
    from elmlff_core.plugins.scaffold import write_adapter_package

    folder = write_adapter_package(name, output)
    for path in sorted(folder.iterdir()):
        click.echo(f"wrote {path}")
    click.echo(f"next: pip install ./{folder} && cd {folder} && pytest")
