"""`elmlff predict RUN --data FILE -o out.extxyz`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="Structures; labels are not needed.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="An extxyz file to write.")
@click.option("--trust", is_flag=True, help="Allow base models of the stack to run code that its author put there.")
def command(run: Path, data: str, output: Path, trust: bool) -> None:
    """Forces, and energies where base models give them, of structures by the stack in RUN, and how far they may be off.

    The standard deviation of force components is written as the array forces_std, in eV/Å, that of the energy as
    energy_std, in eV.
    """
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.data.readers import read_structures
    from elmlff_core.data.writers import write_predictions
    from elmlff_core.stack.stack import load_stack

    structures = read_structures(data)
    found = load_stack(run, trust).predict(structures)
    write_predictions(structures, found, output, found.forces_std, found.energy_std)
    ConsoleReporter().say(f"{len(structures)} structures written to {output}")
