"""`elmlff train NAME`: train one base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elmlff_core.cli.options import (
    config_from,
    data_options,
    models_folder_from,
    models_folder_option,
    options,
    settings_options,
    workflow_options,
)


@click.command("train")
@click.argument("name")
@options(workflow_options, data_options, settings_options, [models_folder_option])
def command(name: str, models_dir: Path | None, dry_run: bool, **values: Any) -> None:
    """Train the base model NAME; `elmlff stack` with the same data uses it."""
    config = config_from(values)
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.cli.plan_table import print_plan
    from elmlff_core.workflows.base_models import train_one
    from elmlff_core.workflows.inputs import read_inputs
    from elmlff_core.workflows.plan import plan_of

    if dry_run:
        inputs = read_inputs(config.model_copy(update={"base_models": (name,)}))
        print_plan(plan_of(inputs, models_folder_from(models_dir)))
        return
    reporter = ConsoleReporter()
    checkpoint = train_one(config, name, models_folder_from(models_dir), reporter)
    reporter.say(f"checkpoint: {checkpoint}")
