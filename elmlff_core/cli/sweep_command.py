"""`elmlff sweep`: compare all subsets of the base models."""

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
    names_in,
    options,
    say_which_data,
    settings_options,
    workflow_options,
)

sweep_options = [
    click.option(
        "--method", default="least-squares", show_default=True,
        help="least-squares (linear combinations), masked (one meta-model for all subsets) or per-subset (one "
        "meta-model for each subset); or several, comma-separated.",
    ),
    click.option("--meta", help="Meta-model of the methods masked and per-subset.  [default: egat]"),
    click.option("--subsets", help="Subsets for per-subset: dp1+nep,nep.  [default: all subsets]"),
    click.option("--sample", type=click.IntRange(min=1), help="Number of random subsets for per-subset."),
]  # fmt: skip


@click.command("sweep")
@options(base_model_options, sweep_options, workflow_options, data_options, settings_options, folder_options)
def command(
    method: str,
    subsets: str | None,
    sample: int | None,
    output: Path | None,
    models_dir: Path | None,
    dry_run: bool,
    **values: Any,
) -> None:
    """Compare all subsets of the base models: M base models have 2^M - 1 subsets.

    Run the same command again to resume an interrupted sweep.  Another method in the same folder reuses its results.
    """
    config = config_from(values)
    from elmlff_core.cli.console import ConsoleReporter, standard_console
    from elmlff_core.cli.plan_table import print_plan
    from elmlff_core.cli.sweep_table import print_sweep
    from elmlff_core.workflows.sweep.workflow import SweepRequest, plan_sweep, sweep

    request = SweepRequest(names_in(method) or [], subsets, sample)
    if dry_run:
        print_plan(plan_sweep(config, request, output, models_folder_from(models_dir)))
        return
    reporter = ConsoleReporter()
    say_which_data(config, values, reporter)
    run = sweep(config, request, output, models_folder_from(models_dir), reporter)
    print_sweep(standard_console(), run.sweep)
    for summary in run.summaries:
        reporter.say(summary)
    reporter.say(f"sweep: {run.folder} (sweep.html, sweep.csv, sweep.json)")
