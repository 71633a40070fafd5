"""`elmlff plugins`: what is installed, where it comes from, and whether it works here."""

from __future__ import annotations

import json

import click


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--traceback", is_flag=True, help="Show the tracebacks of plugins that failed.")
def command(as_json: bool, traceback: bool) -> None:
    """List adapters and meta-models. No backend is imported."""
    from rich.console import Console
    from rich.table import Table

    from elmlff_core.plugins import install_hint, missing_requirements, registry

    found = registry()
    records = [
        {
            "kind": kind,
            "name": record.name,
            "summary": record.summary,
            "from": str(origin),
            "works": not missing_requirements(record),
            "hint": install_hint(record) if missing_requirements(record) else "",
        }
        for kind, table in (("adapter", found.force_fields), ("meta-model", found.meta_models))
        for record, origin in table.values()
    ]
    records += [
        {"kind": "failed", "name": failure.name, "summary": failure.reason, "from": str(failure.origin), "works": False,
         "hint": "elmlff plugins --traceback"}
        for failure in found.failures
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps(records, indent=1))
        return
    table = Table("kind", "name", "what it is", "from", "works here")
    for entry in records:
        table.add_row(
            entry["kind"], entry["name"], entry["summary"], entry["from"], "yes" if entry["works"] else f"no: {entry['hint']}"
        )
    Console(highlight=False).print(table)
    if traceback:
        for failure in found.failures:
            click.echo(f"\n{failure.name} ({failure.origin}, {failure.origin.module})\n{failure.traceback}")
