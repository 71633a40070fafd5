"""`elmlff stack`: stack base models into one force field."""

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
    workflow_options,
)

stack_options = [
    click.option("--meta", help="Meta-model, or several to compare, comma-separated.  [default: auto]"),
    click.option(
        "--geometry-only/--no-geometry-only", default=None,
        help="Also fit meta-models that see the geometry without base models, to measure what these contribute.",
    ),
    click.option(
        "--descriptors/--no-descriptors", default=None,
        help="Ask base models for descriptors of atoms too, which egat sees beside their forces.",
    ),
    click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds for each trained meta-model."),
    click.option(
        "--average/--no-average", default=None,
        help="Also take the mean of the seeds as a meta-model, which errs less and predicts more slowly; of several "
        "networks also the mean of them; with --geometry-only also the mean with and without base models.",
    ),
    click.option(
        "--from", "earlier_run", metavar="RUN",
        help="Folder of the run before, of which the data have more structures: keep its test structures and settings.",
    ),
]  # fmt: skip


@click.command("stack")
@options(base_model_options, stack_options, workflow_options, data_options, settings_options, folder_options)
@click.option("--bundle", is_flag=True, help="Copy checkpoints of base models into the run folder.")
@click.option(
    "--learning-curve",
    is_flag=True,
    help="Also fit the stack to an eighth, a quarter and half of the training structures: three fits more.",
)
def command(
    output: Path | None, models_dir: Path | None, bundle: bool, learning_curve: bool, dry_run: bool, **values: Any
) -> None:
    """Stack base models into one force field.

    Base models without a checkpoint are trained first.  Run the same command again to resume an interrupted run or to
    show the results of a finished one.
    """
    config = config_from(values)
    from elmlff_core.cli.console import ConsoleReporter, print_errors, print_table, standard_console
    from elmlff_core.cli.plan_table import print_plan
    from elmlff_core.workflows.stack.generations import generation_table
    from elmlff_core.workflows.stack.workflow import build_stack, plan_stack

    if dry_run:
        print_plan(plan_stack(config, output, models_folder_from(models_dir)))
        return
    reporter = ConsoleReporter()
    say_which_data(config, values, reporter)
    run = build_stack(config, output, models_folder_from(models_dir), bundle, reporter, learning_curve)
    print_errors(standard_console(), run.errors, ("test", "valid", "train"))
    if len(run.generations) > 1:
        print_table(standard_console(), generation_table(run.generations))
    reporter.say(run.summary)
    reporter.say(f"stack: {run.folder}")
