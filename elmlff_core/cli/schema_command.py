"""`elmlff schema`: the JSON schema of elmlff.toml, for editors."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("schema")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: standard output]")
def command(output: Path | None) -> None:
    """Print the JSON schema of elmlff.toml, with the options of the installed adapters and meta-models."""
    from elmlff_core.files import write_json
    from elmlff_core.plugins.settings_schema import settings_schema

    if output is None:
        click.echo(json.dumps(settings_schema(), indent=1))
    else:
        write_json(output, settings_schema(), indent=1)
        click.echo(f"wrote {output}")
