"""`elmlff data list` and `elmlff data get NAME`: datasets that others have published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.data.published.catalogue import PublishedDataset
    from elmlff_core.data.published.local_copy import LocalCopy


@click.group("data", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Published datasets: what there is, and getting it."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_command(as_json: bool) -> None:
    """List published datasets, and whether they are here.

    Files that are here are checked against their hashes.
    """
    from elmlff_core.data.published.catalogue import load_catalogue
    from elmlff_core.data.published.local_copy import default_folder, examine

    copies = [examine(dataset, default_folder(dataset)) for dataset in load_catalogue().datasets]
    if as_json:
        click.echo(json.dumps([_entry(copy) for copy in copies], indent=1))
    else:
        _print_table(copies)


@command.command("get")
@click.argument("name")
@click.option(
    "--from", "origin", metavar="DIR", type=click.Path(path_type=Path),
    help="Copy from a clone of the repository, or from a folder of data, instead of the network.",
)  # fmt: skip
@click.option("--output", metavar="DIR", type=click.Path(path_type=Path), help="Put train/ and test/ into DIR.")
def get_command(name: str, origin: Path | None, output: Path | None) -> None:
    """Get the published dataset NAME, or what of it is not here.

    Each file is checked against its hash before it has its name; the same command goes on where an interrupted one
    stopped.
    """
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.data.published.catalogue import load_catalogue
    from elmlff_core.data.published.local_copy import default_folder
    from elmlff_core.data.published.obtain import obtain

    dataset = load_catalogue().named(name)
    reporter = ConsoleReporter()
    copy = obtain(dataset, output or default_folder(dataset), origin, reporter)
    _report(copy, reporter, by_path=output is not None)


def _report(copy: LocalCopy, reporter: ConsoleReporter, by_path: bool) -> None:
    """What is here now, what is not, and how to name it."""
    dataset = copy.dataset
    reporter.say(f"{dataset.name}: {_state(copy)}, in {copy.folder}")
    if absent := _absent(copy):
        folder = f" --output {copy.folder}" if by_path else ""
        reporter.warn(f"not here: {absent}; `elmlff data get {dataset.name}{folder}` downloads them")
    here = [part for part in dataset.parts if copy.n_frames_of(part)]
    options = [f"--{'test' if part == 'test' else 'data'} {_called(copy, part, by_path)}" for part in here]
    if options:
        reporter.say(f"use: elmlff stack {' '.join(options)}")


def _called(copy: LocalCopy, part: str, by_path: bool) -> str:
    if by_path:
        return str(copy.folder / part)
    first = next(iter(copy.dataset.parts))
    return copy.dataset.name if part == first else f"{copy.dataset.name}/{part}"


def _absent(copy: LocalCopy) -> str:
    """Sets that are not here as a whole."""
    from elmlff_core.data.published.local_copy import whole_sets

    whole = whole_sets(copy.dataset, copy.here)
    return ", ".join(
        f"{part}/{name} ({frames.frames:,} frames)"
        for part, content in copy.dataset.parts.items()
        for name, frames in content.sets.items()
        if name not in whole[part]
    )


def _state(copy: LocalCopy) -> str:
    if copy.faults:
        return f"damaged: {', '.join(copy.faults)}"
    if copy.complete:
        return f"complete, {_frames(copy)}"
    if copy.here:
        return f"in part, {copy.n_frames:,} of {_frames(copy)}"
    return "not here"


def _frames(copy: LocalCopy) -> str:
    return f"{copy.dataset.n_frames:,} frames"


def _parts(dataset: PublishedDataset) -> dict[str, int]:
    return {name: part.n_frames for name, part in dataset.parts.items()}


def _entry(copy: LocalCopy) -> dict[str, Any]:
    dataset = copy.dataset
    state = "damaged" if copy.faults else "complete" if copy.complete else "in part" if copy.here else "not here"
    return {
        **dataset.model_dump(exclude={"parts", "url"}),
        "frames": _parts(dataset),
        "frames_here": {part: copy.n_frames_of(part) for part in dataset.parts},
        "bytes": sum(file.facts.size for file in dataset.files()),
        "folder": str(copy.folder),
        "state": state,
        "faults": copy.faults,
    }


def _print_table(copies: list[LocalCopy]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from elmlff_core.cli.console import standard_console

    table = Table()
    for title in ("name", "what it is", "frames", "atoms", "labels", "from", "here"):
        table.add_column(title, overflow="fold")  # an address cut off is of no use
    for copy in copies:
        dataset = copy.dataset
        cells = (
            dataset.name,
            dataset.summary,
            "\n".join(f"{n_frames:,} {part}" for part, n_frames in _parts(dataset).items()),
            str(dataset.n_atoms),
            "\n".join(dataset.labels),
            f"{dataset.source}\n{dataset.revision[:12]}, {dataset.licence}",
            _state(copy),
        )
        table.add_row(*map(escape, cells))
    standard_console().print(table)
    if copies:
        click.echo(f"kept in {copies[0].folder.parent}")
    click.echo(
        "`elmlff data get NAME` fetches one; --data NAME and --test NAME/test then find it; 'methane' is embedded"
    )
