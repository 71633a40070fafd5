"""`elmlff ablate`: what the parts of the paper's network are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elmlff_core.cli.main import config_from, run_options


@click.command("ablate")
@click.option("--models", help="Names of the bases, comma-separated: dp1,painn,nep.")
@click.option("--seeds", type=click.IntRange(min=1), help="Fit each variant with so many seeds.")
@click.option("--executor", default="processes", show_default=True, help="Where fits run, as for sweep.")
@click.option("--workers", type=click.IntRange(min=1), help="How many processes.  [default: as many as cores]")
@click.option("--folds", type=click.IntRange(min=2), help="Retrain bases on folds, for out-of-fold features.")
@run_options
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the ablation.")
@click.option("--models-dir", type=click.Path(path_type=Path), help="Where trained bases live.")
def command(executor: str, workers: int | None, output: Path | None, models_dir: Path | None, **values: Any) -> None:
    """Fit gat whole, without residuals, and without its last one to five layers.

    The same command again goes on where an interrupted one stopped.
    """
    config = config_from({**values, "meta": "gat"})
    from rich.table import Table

    from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER
    from elmlff_core.cli.console import ConsoleReporter, standard_console
    from elmlff_core.workflows.ablation.results import ablation_table
    from elmlff_core.workflows.ablation.workflow import ablate

    reporter = ConsoleReporter()
    run = ablate(config, executor, workers, output, models_dir or DEFAULT_MODELS_FOLDER, reporter)
    found = ablation_table(run.rows, config.seeds)
    table = Table(title=found.caption, title_justify="left")
    for place, title in enumerate(found.head):
        table.add_column(title, justify="right" if place else "left")
    for cells in found.rows:
        table.add_row(*cells)
    standard_console().print(table)
    reporter.say(run.verdict)
    reporter.say(f"ablation: {run.folder} (ablation.html, ablation.csv, ablation.json)")
