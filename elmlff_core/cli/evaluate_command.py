"""`elmlff evaluate RUN --data FILE`: errors of a stack on labelled structures."""

from __future__ import annotations

from pathlib import Path

import click

from elmlff_core.cli.options import loading_options, options, placement_from, placement_options
from elmlff_core.files import json_text


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    help="Labelled structures: file, deepmd/npy folder, 'methane', or a name from `elmlff data list`.",
)
@click.option("--energy-key", help="Name of the energy labels, if it is not the usual one.")
@click.option("--forces-key", help="Name of the force labels, if it is not the usual one.")
@options(loading_options, placement_options)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    run: Path,
    data: str,
    energy_key: str | None,
    forces_key: str | None,
    trust: bool,
    device: str,
    executor: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Compute the errors of the stack in RUN and of its base models on labelled structures.

    Structures that were used in the fit of the stack are counted, and scored apart from unseen ones.
    """
    from elmlff_core.cli.console import ConsoleReporter, print_errors, standard_console
    from elmlff_core.contracts.progress import Reporter
    from elmlff_core.data.labels import LabelKeys
    from elmlff_core.data.readers import read_dataset
    from elmlff_core.stack.place import StackPlace
    from elmlff_core.stack.stack import load_stack
    from elmlff_core.workflows.evaluate import evaluate_stack
    from elmlff_core.workflows.predict import Source, Workers

    reporter = Reporter() if as_json else ConsoleReporter()  # programs read the JSON: nothing else may be printed
    placement, keys = placement_from(executor, workers), LabelKeys(energy_key, forces_key)
    stack, dataset = load_stack(run, trust, device), read_dataset(data, keys)
    shared = Workers(placement, Source(StackPlace(run.expanduser().absolute(), trust, device), data, keys))
    found = evaluate_stack(stack, dataset, reporter, shared)
    if as_json:
        click.echo(json_text(found.as_record()))
        return
    print_errors(standard_console(), found.errors, tuple(found.titles), found.titles)
    for note in found.notes:
        reporter.warn(note)
