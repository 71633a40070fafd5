"""`elmlff ablate`: compare the paper's network with versions that lack residuals or layers."""

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
    settings_options,
    workflow_options,
)

seeds_option = click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds for each variant.")


@click.command("ablate")
@options(base_model_options, [seeds_option], workflow_options, data_options, settings_options, folder_options)
def command(output: Path | None, models_dir: Path | None, dry_run: bool, **values: Any) -> None:
    """Fit the whole gat network, then without residuals and without its last one to five layers.

    Run the same command again to resume an interrupted ablation.
    """
    config = config_from({**values, "meta": "gat"})
    from elmlff_core.cli.console import ConsoleReporter, print_table, standard_console
    from elmlff_core.cli.plan_table import print_plan
    from elmlff_core.workflows.ablation.page import ablation_table
    from elmlff_core.workflows.ablation.workflow import ablate, plan_ablation

    if dry_run:
        print_plan(plan_ablation(config, output, models_folder_from(models_dir)))
        return
    reporter = ConsoleReporter()
    run = ablate(config, output, models_folder_from(models_dir), reporter)
    print_table(standard_console(), ablation_table(run.ablation))
    reporter.say(run.ablation.summary)
    reporter.say(f"ablation: {run.folder} (ablation.html, ablation.csv, ablation.json)")
