"""`elmlff predict RUN --data FILE -o out.extxyz`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="Structures; labels are not needed.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="An extxyz file to write.")
def command(run: Path, data: str, output: Path) -> None:
    """Forces, and energies where bases give them, of structures by the stack in RUN."""
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.data.readers import read_structures
    from elmlff_core.prediction_file import write_predictions
    from elmlff_core.stack_folder import load_stack

    structures = read_structures(data)
    write_predictions(structures, load_stack(run).predict(structures), output)
    ConsoleReporter().say(f"{len(structures)} structures written to {output}")
