"""`elmlff reproduce`: repeat the paper's study of one system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elmlff_core.cli.options import (
    folder_options,
    models_folder_from,
    names_in,
    options,
    refuse_code_of_others,
    resources_from,
    settings_options,
    workflow_options,
)

study_options = [
    click.option(
        "--from", "origin", metavar="DIR", type=click.Path(path_type=Path),
        help="Copy the data from a clone of the authors' repository or a folder of data instead of downloading.",
    ),
    click.option("--models", help="Names of the base models, comma-separated.  [default: those of the paper]"),
    click.option(
        "--method", default="per-subset,masked,least-squares", show_default=True,
        help="Methods of the sweep, as for `sweep`.",
    ),
    click.option("--subsets", help="Subsets for the method per-subset: dp1+nep,nep."),
    click.option("--sample", type=click.IntRange(min=1), help="Number of random subsets for per-subset."),
    click.option("--ablation/--no-ablation", default=True, show_default=True, help="Whether to make Table 3."),
    click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds for each variant of Table 3."),
]  # fmt: skip


@click.command("reproduce")
@click.argument("study")
@options(study_options, workflow_options, settings_options, folder_options)
def command(
    study: str,
    origin: Path | None,
    models: str | None,
    method: str,
    subsets: str | None,
    sample: int | None,
    ablation: bool,
    executor: str | None,
    workers: int | None,
    config_file: str | None,
    assignments: tuple[str, ...],
    trust: bool,
    output: Path | None,
    models_dir: Path | None,
    dry_run: bool,
    **values: Any,
) -> None:
    """Repeat the paper's study of methane or methanol-cu100: Tables 1 to 3 and Figures 2 and 3 beside published values.

    Missing data are downloaded.  Base models without a checkpoint are trained; to use the authors' checkpoints, name
    them: --set models.nep.checkpoint=nep.txt.  Run the same command again to resume an interrupted reproduction.
    """
    from elmlff_core.cli.console import ConsoleReporter, standard_console
    from elmlff_core.cli.plan_table import print_plan
    from elmlff_core.cli.sweep_table import print_sweep
    from elmlff_core.workflows.reproduction.data import study_data
    from elmlff_core.workflows.reproduction.settings import study_config
    from elmlff_core.workflows.reproduction.studies import find_study
    from elmlff_core.workflows.reproduction.workflow import ReproductionRequest, plan_reproduction, reproduce
    from elmlff_core.workflows.sweep.workflow import SweepRequest

    reporter = ConsoleReporter()
    found = find_study(study)
    path = Path(config_file) if config_file else None
    overlay = {**values, "base_models": names_in(models), "resources": resources_from(executor, workers)}
    config = study_config(found, study_data(found, origin, reporter), path, overlay, assignments)
    refuse_code_of_others(config, path, trust, executor)
    if subsets is None and sample is None:
        sample = found.sample(config.budget, 2 ** len(config.base_models) - 1)
    swept = SweepRequest(names_in(method) or [], subsets, sample)
    request = ReproductionRequest(swept, ablation)
    if dry_run:
        print_plan(plan_reproduction(found, config, request, output, models_folder_from(models_dir)))
        return
    run = reproduce(found, config, request, output, models_folder_from(models_dir), reporter)
    print_sweep(standard_console(), run.results.sweep)
    for summary in run.summaries:
        reporter.say(summary)
    reporter.say(f"reproduction: {run.folder} (reproduction.html, tables as CSV, reproduction.json)")
