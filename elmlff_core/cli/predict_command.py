"""`elmlff predict RUN --data FILE -o out.extxyz`: forces and energies of structures from a stack."""

from __future__ import annotations

from pathlib import Path

import click

from elmlff_core.cli.options import loading_options, options


@click.command("predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="Structures; labels are not needed.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Output file in extxyz format.")
@click.option("--committee", is_flag=True, help="Also write what each base model predicts.")
@options(loading_options)
def command(run: Path, data: str, output: Path, committee: bool, trust: bool, device: str) -> None:
    """Predict forces, energies and their uncertainties with the stack in RUN.

    Energies are written if the base models give them.  The standard deviation of the force components is the array
    forces_uncertainty in eV/Å, the standard deviation of the energy is energy_uncertainty in eV.  With --committee, the
    forces of the base models are the array forces_comm, their energies energy_comm, with the variance energy_var.
    """
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.data.readers import read_structures
    from elmlff_core.data.writers import write_structures
    from elmlff_core.stack.frames import add_committee, predicted_frames
    from elmlff_core.stack.outside import outside_warning
    from elmlff_core.stack.stack import StackPrediction, load_stack

    reporter = ConsoleReporter()
    stack, structures = load_stack(run, trust, device), read_structures(data)
    frames, parts = [], []
    with reporter.progress("predicting") as progress:
        for features, found in stack.chunks(structures, progress):
            predicted = list(predicted_frames(features.structures, found))
            if committee:
                add_committee(predicted, stack, features)
            frames += predicted
            parts.append(found)
    if warning := outside_warning(stack, StackPrediction.concatenate(parts)):
        reporter.warn(warning)
    write_structures(frames, output)
    reporter.say(f"{len(structures)} structures written to {output}")
