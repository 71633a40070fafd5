"""`elmlff train NAME`: train one base force field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elmlff_core.cli.main import config_from, run_options


@click.command("train")
@click.argument("name")
@run_options
@click.option("--models-dir", type=click.Path(path_type=Path), help="Where trained bases live.")
def command(name: str, models_dir: Path | None, **values: Any) -> None:
    """Train the base force field NAME, so that `elmlff stack` with the same data finds it."""
    config = config_from(values)
    from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.workflows.stack.workflow import train_one

    reporter = ConsoleReporter()
    checkpoint = train_one(config, name, models_dir or DEFAULT_MODELS_FOLDER, reporter)
    reporter.say(f"checkpoint: {checkpoint}")
