"""`elmlff plan`: what `elmlff stack` with the same options would do."""

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
    placement_options,
    settings_options,
)
from elmlff_core.cli.stack_command import stack_options


@click.command("plan")
@options(base_model_options, stack_options, placement_options, data_options, settings_options, folder_options)
def command(output: Path | None, models_dir: Path | None, **values: Any) -> None:
    """Show the long steps of `elmlff stack` with the same options: which are done, and how long the others take.

    Times come from rates that earlier runs measured on this machine.  `elmlff train`, `sweep`, `ablate` and `reproduce`
    show theirs with --dry-run.
    """
    config = config_from(values)
    from elmlff_core.cli.plan_table import print_plan
    from elmlff_core.workflows.stack.workflow import plan_stack

    print_plan(plan_stack(config, output, models_folder_from(models_dir)))
