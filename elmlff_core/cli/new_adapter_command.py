"""`elmlff new-adapter NAME`: write a template package for a new adapter."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("new-adapter")
@click.argument("name")
@click.option("--output", type=click.Path(path_type=Path), help="Output folder.  [default: NAME]")
def command(name: str, output: Path | None) -> None:
    """Write a small package with the adapter NAME and a working example force field to replace by your own."""
    from elmlff_core.plugins.scaffold import write_adapter_package

    folder = write_adapter_package(name, output)
    for path in sorted(folder.iterdir()):
        click.echo(f"wrote {path}")
    click.echo(f"next: pip install ./{folder} && cd {folder} && pytest")
