"""`elmlff data list` and `elmlff data get NAME`: list and download published datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elmlff_core.files import json_text

if TYPE_CHECKING:
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.data.published.catalogue import PublishedDataset
    from elmlff_core.data.published.local_copy import LocalCopy


@click.group("data", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List and download published datasets."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_command(as_json: bool) -> None:
    """List published datasets and whether they are on this machine.

    Files on this machine are checked against their hashes.
    """
    from elmlff_core.data.published.catalogue import load_catalogue
    from elmlff_core.data.published.local_copy import default_folder, examine

    copies = [examine(dataset, default_folder(dataset)) for dataset in load_catalogue().datasets]
    if as_json:
        click.echo(json_text([_record(copy) for copy in copies]))
    else:
        _print_table(copies)


@command.command("get")
@click.argument("name")
@click.option(
    "--from", "origin", metavar="DIR", type=click.Path(path_type=Path),
    help="Copy from a clone of the repository or a folder of data instead of downloading.",
)  # fmt: skip
@click.option("--output", metavar="DIR", type=click.Path(path_type=Path), help="Write the data to DIR.")
def get_command(name: str, origin: Path | None, output: Path | None) -> None:
    """Download the published dataset NAME, or those of its files that are missing.

    Each file is checked against its hash before it is stored.  Run the same command again to resume an interrupted
    download.
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
    """Report which frames are available, which are missing, and how to use the dataset."""
    dataset = copy.dataset
    reporter.say(f"{dataset.name}: {_state(copy)}, in {copy.folder}")
    if absent := _absent(copy):
        folder = f" --output {copy.folder}" if by_path else ""
        reporter.warn(f"not here: {absent}; `elmlff data get {dataset.name}{folder}` downloads them")
    options = [f"--{'test' if split == 'test' else 'data'} {_reference(copy, split, by_path)}" for split in copy.splits]
    if options:
        reporter.say(f"use: elmlff stack {' '.join(options)}")
    if dataset.citation:
        reporter.say(f"cite: {dataset.citation}")


def _reference(copy: LocalCopy, split: str, by_path: bool) -> str:
    """Path or name of a split, as `--data` and `--test` take it."""
    if by_path:
        return str(copy.path_of(split))
    first = next(iter(copy.dataset.parts))
    return copy.dataset.name if split == first else f"{copy.dataset.name}/{split}"


def _absent(copy: LocalCopy) -> str:
    """Names and sizes of the sets that are missing or incomplete."""
    from elmlff_core.data.published.local_copy import whole_sets

    whole = whole_sets(copy.dataset, copy.here)
    return ", ".join(
        f"{split}/{name}" + ("" if n_frames is None else f" ({n_frames:,} frames)")
        for split, content in copy.dataset.parts.items()
        for name, n_frames in content.frames_by_set.items()
        if name not in whole[split]
    )


def _state(copy: LocalCopy) -> str:
    if copy.faults:
        return f"damaged: {', '.join(copy.faults)}"
    n_here, n_frames = copy.n_frames, copy.dataset.n_frames
    if copy.complete:
        return "complete" if n_frames is None else f"complete, {n_frames:,} frames"
    if copy.here:
        return "in part" if n_here is None or n_frames is None else f"in part, {n_here:,} of {n_frames:,} frames"
    return "not here"


def _frames_by_split(dataset: PublishedDataset) -> dict[str, int | None]:
    return {name: dataset.n_frames_of(name) for name in dataset.parts}


def _n_atoms(dataset: PublishedDataset) -> str:
    if dataset.n_atoms is None:
        return "?"
    smallest, largest = dataset.n_atoms
    return str(smallest) if smallest == largest else f"{smallest} to {largest}"


def _n_bytes(dataset: PublishedDataset) -> int | None:
    sizes = [file.facts.size for file in dataset.files()]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _record(copy: LocalCopy) -> dict[str, Any]:
    dataset = copy.dataset
    state = "damaged" if copy.faults else "complete" if copy.complete else "in part" if copy.here else "not here"
    return {
        **dataset.model_dump(exclude={"parts", "url"}),
        "frames": _frames_by_split(dataset),
        "frames_here": {split: copy.n_frames_of(split) for split in dataset.parts},
        "bytes": _n_bytes(dataset),
        "folder": str(copy.folder),
        "state": state,
        "faults": copy.faults,
    }


def _print_table(copies: list[LocalCopy]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from elmlff_core.cli.console import standard_console

    table = Table()
    for title in ("name", "description", "frames", "atoms", "labels", "source", "on this machine"):
        table.add_column(title, overflow="fold")  # a truncated address cannot be opened
    for copy in copies:
        dataset = copy.dataset
        cells = (
            dataset.name,
            "\n".join(filter(None, [dataset.summary, dataset.theory])),
            "\n".join(f"{'?' if n is None else f'{n:,}'} {split}" for split, n in _frames_by_split(dataset).items()),
            _n_atoms(dataset),
            "\n".join(dataset.labels),
            "\n".join(filter(None, [dataset.source, f"{dataset.revision[:12]}, {dataset.licence}", dataset.citation])),
            _state(copy),
        )
        table.add_row(*map(escape, cells))
    standard_console().print(table)
    if copies:
        click.echo(f"stored in {copies[0].folder.parent}")
    click.echo(
        "`elmlff data get NAME` downloads a dataset; use it with --data NAME and, where it has a test split, --test "
        "NAME/test; 'methane' is part of elmlff"
    )
