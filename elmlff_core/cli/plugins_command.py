"""`elmlff plugins`: what is installed, where it comes from, and whether it works here."""

from __future__ import annotations

import json

import click


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--traceback", is_flag=True, help="Show the tracebacks of plugins that failed.")
def command(as_json: bool, traceback: bool) -> None:
    """List adapters and meta-models. No backend is imported."""
    from rich.markup import escape
    from rich.table import Table

    from elmlff_core.cli.console import standard_console
    from elmlff_core.plugins import install_hint, missing_requirements, registry

    found = registry()
    records = [
        {
            "kind": kind,
            "name": record.name,
            "summary": record.summary,
            "from": str(origin),
            "works": "no" if missing_requirements(record) else "yes",
            "hint": install_hint(record) if missing_requirements(record) else "",
        }
        for kind, record, origin in found.records()
    ]
    records += [
        {
            "kind": "failed",
            "name": failure.name,
            "summary": failure.reason,
            "from": str(failure.origin),
            "works": "no",
            "hint": "elmlff plugins --traceback",
        }
        for failure in found.failures
    ]
    if as_json:
        click.echo(json.dumps(records, indent=1))
        return
    table = Table("kind", "name", "what it is", "from", "works here")
    for entry in records:
        works = entry["works"] if entry["works"] == "yes" else f"no: {entry['hint']}"
        table.add_row(entry["kind"], entry["name"], entry["summary"], entry["from"], escape(works))
    standard_console().print(table)
    if traceback:
        for failure in found.failures:
            click.echo(f"\n{failure.name} ({failure.origin}, {failure.origin.module})\n{failure.traceback}")
