"""`elmlff stack`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elmlff_core.cli.options import (
    base_model_options,
    config_from,
    data_options,
    folder_options,
    models_folder_from,
    options,
    say_which_data,
    settings_options,
)

stack_options = [
    click.option("--meta", help="Meta-model, or several, comma-separated, to compare them.  [default: egat]"),
    click.option(
        "--geometry-only/--no-geometry-only", default=None,
        help="Fit each trained meta-model without base models too: what the stack gains over that is what they bring.",
    ),
    click.option("--seeds", type=click.IntRange(min=1), help="Fit each trained meta-model with so many seeds."),
]  # fmt: skip


@click.command("stack")
@options(base_model_options, stack_options, data_options, settings_options, folder_options)
@click.option("--bundle", is_flag=True, help="Copy checkpoints of base models into the run folder.")
def command(output: Path | None, models_dir: Path | None, bundle: bool, **values: Any) -> None:
    """Stack base models into one force field.

    Base models without a checkpoint are trained first.  The same command again resumes an interrupted run, or shows the
    results of a finished one.
    """
    config = config_from(values)
    from elmlff_core.cli.console import ConsoleReporter, print_errors, standard_console
    from elmlff_core.workflows.stack.workflow import build_stack

    reporter = ConsoleReporter()
    say_which_data(config, values, reporter)
    run = build_stack(config, output, models_folder_from(models_dir), bundle, reporter)
    print_errors(standard_console(), run.errors, ("test", "valid", "train"))
    reporter.say(run.summary)
    reporter.say(f"stack: {run.folder}")
