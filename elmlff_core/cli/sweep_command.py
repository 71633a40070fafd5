"""`elmlff sweep`: what every subset of the bases is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elmlff_core.cli.main import config_from, run_options


@click.command("sweep")
@click.option("--models", help="Names of the bases, comma-separated: dp1,painn,nep.")
@click.option(
    "--way", default="linear", show_default=True,
    help="linear (least squares), amortised (one meta-model for all subsets), each (one for each); or several.",
)  # fmt: skip
@click.option("--meta", help="Meta-model of the ways each and amortised.  [default: egat]")
@click.option("--subsets", help="What `each` fits: dp1+nep,nep.  [default: all subsets]")
@click.option("--sample", type=click.IntRange(min=1), help="Fit so many subsets, drawn by the seed.")
@click.option(
    "--executor", default="processes", show_default=True,
    help="Where `each` runs: processes, serial, or module:function that returns a concurrent.futures.Executor.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), help="How many processes.  [default: as many as cores]")
@click.option("--folds", type=click.IntRange(min=2), help="Retrain bases on folds, for out-of-fold features.")
@run_options
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the sweep.")
@click.option("--models-dir", type=click.Path(path_type=Path), help="Where trained bases live.")
def command(
    way: str,
    subsets: str | None,
    sample: int | None,
    executor: str,
    workers: int | None,
    output: Path | None,
    models_dir: Path | None,
    **values: Any,
) -> None:
    """Find out what every subset of the bases is worth: 2^M - 1 of M bases.

    The same command again goes on where an interrupted one stopped; another way for the same folder uses what is there.
    """
    config = config_from(values)
    from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER
    from elmlff_core.cli.console import ConsoleReporter, standard_console
    from elmlff_core.cli.sweep_table import print_sweep
    from elmlff_core.workflows.sweep.workflow import SweepRequest, sweep

    reporter = ConsoleReporter()
    if not values["data"] and "train" not in config.data.model_fields_set:
        reporter.say("no data named: using the embedded example 'methane' (name yours with --data)")
    ways = tuple(part.strip() for part in way.split(",") if part.strip())
    request = SweepRequest(ways, subsets, sample, executor, workers)
    run = sweep(config, request, output, models_dir or DEFAULT_MODELS_FOLDER, reporter)
    print_sweep(standard_console(), run.sweep)
    for verdict in run.verdicts:
        reporter.say(verdict)
    reporter.say(f"sweep: {run.folder} (sweep.html, sweep.csv, sweep.json)")
