"""`elmlff doctor`: check the installation for problems."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from elmlff_core.files import json_text


@click.command("doctor")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="Settings file.  [default: elmlff.toml, if it exists]",
)
@click.option("--quick", is_flag=True, help="Skip the test imports: about a second instead of half a minute.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def command(config_file: Path | None, quick: bool, as_json: bool) -> None:
    """Check Python, packages, threads, GPUs, cache and settings; the exit code is 1 if something is wrong."""
    from elmlff_core.doctor import examine

    findings = []
    for finding in examine(config_file, quick):
        findings.append(finding)
        if as_json:
            continue
        click.echo(f"{finding.level:<6} {finding.area}: {finding.subject}: {finding.message}")
        if finding.remedy:
            click.echo(f"       -> {finding.remedy}")
    wrong = [finding for finding in findings if finding.level == "wrong"]
    if as_json:
        click.echo(json_text([asdict(finding) for finding in findings]))
    else:
        click.echo(f"wrong: {len(wrong)} of {len(findings)} findings" if wrong else "nothing is wrong")
    if wrong:
        raise click.exceptions.Exit(1)
