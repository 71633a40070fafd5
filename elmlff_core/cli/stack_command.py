"""`elmlff stack`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elmlff_core.cli.main import config_from, run_options


@click.command("stack")
@click.option("--models", help="Names of the bases, comma-separated: dp1,painn,nep.")
@click.option("--meta", help="Meta-model, or several, comma-separated, to compare them.  [default: egat]")
@click.option("--control/--no-control", default=None, help="Fit each trained meta-model without base features too.")
@click.option("--seeds", type=click.IntRange(min=1), help="Fit each trained meta-model with so many seeds.")
@click.option("--folds", type=click.IntRange(min=2), help="Retrain bases on folds, for out-of-fold features.")
@run_options
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--models-dir", type=click.Path(path_type=Path), help="Where trained bases live.")
@click.option("--bundle", is_flag=True, help="Copy base checkpoints into the run folder.")
def command(output: Path | None, models_dir: Path | None, bundle: bool, **values: Any) -> None:
    """Stack base force fields into one.

    Bases without a checkpoint are trained first.  The same command again goes on where an interrupted one stopped, or
    shows the results of a finished one.
    """
    config = config_from(values)
    from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER
    from elmlff_core.cli.console import ConsoleReporter, print_table, standard_console
    from elmlff_core.workflows.stack.workflow import stack

    reporter = ConsoleReporter()
    if not values["data"] and "train" not in config.data.model_fields_set:
        reporter.say("no data named: using the embedded example 'methane' (name yours with --data)")
    run = stack(config, output, models_dir or DEFAULT_MODELS_FOLDER, bundle, reporter)
    print_table(standard_console(), run.rows, ("test", "valid", "train"))
    reporter.say(run.verdict)
    reporter.say(f"stack: {run.folder}")
