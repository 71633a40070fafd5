"""`elmlff reproduce`: the paper's study of one system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("reproduce")
@click.argument("study")
@click.option(
    "--from", "origin", metavar="DIR", type=click.Path(path_type=Path),
    help="Copy the data from a clone of the authors' repository, or a folder of data, instead of the network.",
)  # fmt: skip
@click.option("--models", help="Names of the bases, comma-separated.  [default: the paper's]")
@click.option("--way", default="each,amortised,linear", show_default=True, help="Ways of the sweep, as for `sweep`.")
@click.option("--subsets", help="What `each` fits: dp1+nep,nep.")
@click.option("--sample", type=click.IntRange(min=1), help="How many subsets `each` fits, drawn by the seed.")
@click.option("--ablation/--no-ablation", default=True, show_default=True, help="Whether Table 3 is made.")
@click.option(
    "--published", metavar="FILE", type=click.Path(path_type=Path),
    help="JSON of published errors; figure2.json beside the data of --from, if it is there.",
)  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), help="Seeds of each variant of Table 3.")
@click.option("--executor", default="processes", show_default=True, help="Where fits run, as for `sweep`.")
@click.option("--workers", type=click.IntRange(min=1), help="How many processes.  [default: as many as cores]")
@click.option("--config", "config_file", type=click.Path(), help="Settings; elmlff.toml where there is one.")
@click.option("--budget", type=click.Choice(["quick", "paper"]), help="How long to train.")
@click.option("--seed", type=click.IntRange(min=0), help="Of initial weights and batches.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Override a setting.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the reproduction.")
@click.option("--models-dir", type=click.Path(path_type=Path), help="Where trained bases live.")
def command(
    study: str,
    origin: Path | None,
    models: str | None,
    way: str,
    subsets: str | None,
    sample: int | None,
    ablation: bool,
    published: Path | None,
    executor: str,
    workers: int | None,
    config_file: str | None,
    assignments: tuple[str, ...],
    output: Path | None,
    models_dir: Path | None,
    **values: Any,
) -> None:
    """Redo the paper's study of methane or methanol-cu100: Tables 1 to 3, Figures 2 and 3, beside what it published.

    Data that are not here are fetched.  Bases without a checkpoint are trained; to take the authors', name them:
    --set models.nep.checkpoint=nep.txt.  The same command again goes on where an interrupted one stopped.
    """
    from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER
    from elmlff_core.cli.console import ConsoleReporter, standard_console
    from elmlff_core.cli.sweep_table import print_sweep
    from elmlff_core.workflows.reproduction.data import study_data
    from elmlff_core.workflows.reproduction.settings import study_config
    from elmlff_core.workflows.reproduction.studies import find_study
    from elmlff_core.workflows.reproduction.workflow import ReproductionRequest, reproduce
    from elmlff_core.workflows.sweep.workflow import SweepRequest

    reporter = ConsoleReporter()
    found = find_study(study)
    stack = [name.strip() for name in models.split(",") if name.strip()] if models is not None else None
    path = Path(config_file) if config_file else None
    config = study_config(found, study_data(found, origin, reporter), path, {**values, "stack": stack}, assignments)
    if subsets is None and sample is None:
        sample = found.sample(config.budget, 2 ** len(config.stack) - 1)
    ways = tuple(part.strip() for part in way.split(",") if part.strip())
    request = ReproductionRequest(SweepRequest(ways, subsets, sample, executor, workers), ablation, published, origin)
    run = reproduce(found, config, request, output, models_dir or DEFAULT_MODELS_FOLDER, reporter)
    print_sweep(standard_console(), run.results.sweep)
    for verdict in run.verdicts:
        reporter.say(verdict)
    reporter.say(f"reproduction: {run.folder} (reproduction.html, tables as CSV, reproduction.json)")
