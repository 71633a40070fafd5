"""`elmlff distill STACK --into NAME`: one fast model that learns from a stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elmlff_core.cli.options import (
    config_from,
    folder_options,
    models_folder_from,
    options,
    settings_options,
    workflow_options,
)
from elmlff_core.distillation.settings import DistillationSettings
from elmlff_core.errors import ConfigError

LISTS = ("rattles", "strains", "temperatures")


def numbers(name: str) -> str:
    """Return the default of a list of numbers as the user types it."""
    return ",".join(f"{value:g}" for value in DistillationSettings.model_fields[name].default)


made_options = [
    click.option(
        "--made", type=click.IntRange(min=0), help="Structures to make.  [default: 10 for each label, 200 to 2000]"
    ),
    click.option(
        "--rattle", "rattles", default=numbers("rattles"), show_default=True, help="Sizes of random displacements, Å."
    ),
    click.option(
        "--strain", "strains", default=numbers("strains"), show_default=True,
        help="Sizes of random strains of periodic cells.",
    ),
    click.option(
        "--temperatures", default=numbers("temperatures"), show_default=True,
        help='Temperatures of molecular dynamics with the stack, K; "" for none.',
    ),
    click.option(
        "--starts", type=click.IntRange(min=1), default=2, show_default=True, help="Simulations at each temperature."
    ),
    click.option("--timestep", type=float, default=1.0, show_default=True, help="fs."),
    click.option("--spacing", type=click.IntRange(min=1), default=20, show_default=True, help="Steps between frames."),
    click.option("--driver", help="Base model that moves the atoms in these simulations, instead of the stack."),
    click.option(
        "--structures", multiple=True, metavar="FILE", help="More structures, without labels; may be repeated."
    ),
    click.option("--smallest-distance", type=float, help="Å, between two atoms.  [default: from the training data]"),
    click.option("--largest-force", type=float, help="eV/Å, on an atom.  [default: from the training data]"),
    click.option(
        "--largest-error", type=float,
        help="eV/Å, calibrated error of an atom.  [default: 20 times the usual one of the stack]",
    ),
]  # fmt: skip
label_options = [
    click.option("--data", help="Labelled structures.  [default: those of the stack's run]"),
    click.option("--energy-key", help="Name of the energy labels, if it is not the usual one."),
    click.option("--forces-key", help="Name of the force labels, if it is not the usual one."),
]


@click.command("distill")
@click.argument("stack", type=click.Path(path_type=Path))
@click.option(
    "--into", required=True, metavar="NAME", help="The student: a preset, an adapter, or a model of the settings."
)
@options(label_options, made_options)
@click.option(
    "--weights/--no-weights",
    default=True,
    help="Let made structures count less where the stack is less sure, if the trainer takes weights.",
)
@click.option("--control/--no-control", default=True, help="Also train the same model on the reference labels alone.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
    help="Where the network of the stack runs.",
)  # fmt: skip
@options(workflow_options, settings_options, folder_options)
def command(
    stack: Path, into: str, data: str | None, energy_key: str | None, forces_key: str | None,
    structures: tuple[str, ...], device: str, output: Path | None, models_dir: Path | None, dry_run: bool,
    **values: Any,
) -> None:  # fmt: skip
    """Train one fast model, the student, on what the stack in STACK predicts.

    It learns from the training structures with their own labels, and from structures that elmlff makes and the stack
    labels.  The student is compared with the stack, its base models, and the same model trained on the reference labels
    alone.  Run the same command again to resume an interrupted run or to show the results of a finished one.
    """
    none_named = dict.fromkeys(("data", "test", "split", "energy_key", "forces_key"))
    config = config_from(values | none_named)
    from elmlff_core.cli.console import ConsoleReporter, print_errors, print_table, standard_console
    from elmlff_core.data.labels import LabelKeys
    from elmlff_core.distillation.comparison import TITLES
    from elmlff_core.distillation.settings import distillation_settings
    from elmlff_core.workflows.distill.inputs import DistillRequest
    from elmlff_core.workflows.distill.tables import plan_table, statements, tables
    from elmlff_core.workflows.distill.workflow import distill, plan_distillation

    made = {name: values[name] for name in DistillationSettings.model_fields if name in values}
    made |= {name: _numbers_in(values[name], name) for name in LISTS} | {"seed": config.seed}
    keys = LabelKeys(energy_key, forces_key)
    request = DistillRequest(stack, into, distillation_settings(made), data, keys, structures, values["trust"], device)
    reporter, console = ConsoleReporter(), standard_console()
    if dry_run:
        inputs = plan_distillation(request, config)
        print_table(console, plan_table(inputs))
        for line in inputs.lengths:
            reporter.say(line)
        for note in inputs.notes:
            reporter.warn(note)
        return
    run = distill(request, config, output, models_folder_from(models_dir), reporter)
    for table in tables(run.results):
        print_table(console, table)
    print_errors(console, run.results.errors, run.results.splits, TITLES)
    for line in (*run.results.notes, *statements(run.results), run.results.summary):
        reporter.say(line)
    if run.results.program:
        reporter.say(f"inputs of {run.results.program}: {run.folder / 'inputs'}")
    reporter.say(f"student: {run.student}")


def _numbers_in(text: str, name: str) -> tuple[float, ...]:
    """Return the numbers in a list separated by commas; ConfigError names the option."""
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        option = {"rattles": "rattle", "strains": "strain"}.get(name, name)
        raise ConfigError(f"--{option} takes numbers separated by commas, found '{text}'") from error
