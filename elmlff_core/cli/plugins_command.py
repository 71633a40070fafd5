"""`elmlff plugins`: list adapters and meta-models, their packages, and whether they can be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from elmlff_core.errors import ElmlffError, did_you_mean
from elmlff_core.files import json_text

if TYPE_CHECKING:
    from elmlff_core.plugins.records import Kind, Record
    from elmlff_core.plugins.registry import Registry


@click.command("plugins")
@click.argument("name", required=False)
@click.option("--check", "check", metavar="NAME", help="Import the backend of an adapter, or create a meta-model.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--traceback", is_flag=True, help="Show the tracebacks of failures.")
def command(name: str | None, check: str | None, as_json: bool, traceback: bool) -> None:
    """List adapters and meta-models, or the options of NAME. Only --check imports a backend."""
    from elmlff_core.plugins.registry import registry

    found = registry()
    if check is not None:
        _check(found, check, as_json, traceback)
    elif name is not None:
        _describe(found, name, as_json)
    elif as_json:
        click.echo(json_text(list(_entries(found, traceback))))
    else:
        _print_table(found, traceback)


def _entries(found: Registry, traceback: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a record for each adapter, meta-model and failure, as `--json` prints it."""
    from elmlff_core.plugins.registry import unusable

    for kind, record, origin in found.records():
        problem = unusable(record, origin)
        yield {
            "kind": kind,
            "name": record.name,
            "summary": record.summary,
            "trainable": getattr(record, "trainer", None) is not None or getattr(record, "trained", False),
            "package": origin.distribution,
            "version": origin.version,
            "module": origin.module,
            "works": not problem,
            "problem": problem,
        }
    for failure in found.failures:
        yield {
            "kind": failure.kind or "plugin",
            "name": failure.name,
            "summary": "failed",
            "trainable": False,
            "package": failure.origin.distribution,
            "version": failure.origin.version,
            "module": failure.origin.module,
            "works": False,
            "problem": failure.reason,
        } | ({"traceback": failure.traceback} if traceback else {})


def _print_table(found: Registry, traceback: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from elmlff_core.cli.console import standard_console

    table = Table("kind", "name", "description", "package", "can be used")
    for entry in _entries(found):
        works = "yes" if entry["works"] else f"no: {entry['problem']}"
        source = f"{entry['package']} {entry['version']}".strip()
        cells = (entry["kind"], entry["name"], entry["summary"], source, works)
        table.add_row(*map(escape, cells), style=None if entry["works"] else "dim")
    standard_console().print(table)
    if not found.failures:
        return
    if not traceback:
        click.echo("some plugins failed: `elmlff plugins --traceback` shows where")
        return
    for failure in found.failures:
        text = failure.traceback or failure.reason
        click.echo(f"\n{failure.name} ({failure.origin}, {failure.origin.module})\n{text}")


def _named(found: Registry, name: str) -> list[tuple[Kind, Record]]:
    """Return the adapter and the meta-model called `name`.

    Raises ElmlffError if there is neither, with the reason if a plugin of that name failed.
    """
    matches = [(kind, record) for kind, record, _ in found.records() if record.name == name]
    if matches:
        return matches
    for failure in found.failures:
        if failure.name == name:
            raise ElmlffError(f"'{name}' of {failure.origin} cannot be used: {failure.reason}")
    known = [record.name for _, record, _ in found.records()]
    raise ElmlffError(f"no adapter or meta-model is called '{name}'{did_you_mean(name, known)}")


def _describe(found: Registry, name: str, as_json: bool) -> None:
    """Print the options of one adapter or meta-model, with types and defaults."""
    entries = []
    for kind, record in _named(found, name):
        origin = found.origin(record)
        options = record.options.model_json_schema()
        entries.append({"kind": kind, "name": name, "summary": record.summary, "from": str(origin), "options": options})
    if as_json:
        click.echo(json_text(entries))
        return
    for (kind, record), entry in zip(_named(found, name), entries, strict=True):
        click.echo(f"{kind} {name}, from {entry['from']}: {record.summary}")
        table = "[models.NAME.options]" if kind == "adapter" else "[meta]"
        click.echo(f"options, under {table} of elmlff.toml:" if record.options.model_fields else "no options")
        for key, field in record.options.model_fields.items():
            kind_of_value = str(
                field.annotation if not isinstance(field.annotation, type) else field.annotation.__name__
            )
            default = "required" if field.is_required() else f"default {field.get_default(call_default_factory=True)!r}"
            click.echo(f"  {key}: {kind_of_value.replace('typing.', '')}, {default}")


def _check(found: Registry, name: str, as_json: bool, traceback: bool) -> None:
    """Import or create one adapter or meta-model; the exit code is 1 if that fails."""
    results = [_result(kind, record) for kind, record in _named(found, name)]
    if as_json:
        shown = [{key: result[key] for key in result if traceback or key != "traceback"} for result in results]
        click.echo(json_text(shown))
    for result in [] if as_json else results:
        detail = result["problem"] or result["backends"]
        click.echo(f"{result['kind']} '{name}': {'OK' if result['ok'] else 'failed'}{': ' * bool(detail)}{detail}")
        if traceback and result["traceback"]:
            click.echo(result["traceback"])
    if not all(result["ok"] for result in results):
        raise click.exceptions.Exit(1)


def _result(kind: Kind, record: Record) -> dict[str, Any]:
    """Return the result of importing or creating one adapter or meta-model."""
    from elmlff_core.plugins.import_check import check_import, check_meta_model
    from elmlff_core.plugins.registry import unusable

    imports, checks = [], []
    problem = unusable(record)
    if not problem:
        imports = [check_import(module) for module in record.requires]
        checks = list(imports)
        if kind == "meta-model" and not any(field.is_required() for field in record.options.model_fields.values()):
            checks.append(check_meta_model(record.name))
        problem = "; ".join(f"{check.module}: {check.failure}" for check in checks if check.failure)
    return {
        "kind": kind,
        "name": record.name,
        "ok": not problem,
        "problem": problem,
        "backends": ", ".join(f"{check.module} {check.version}".strip() for check in imports if not check.failure),
        "traceback": "\n".join(check.traceback for check in checks if check.failure),
    }
