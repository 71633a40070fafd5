"""`elmlff predict RUN --data FILE -o out.extxyz`: forces and energies of structures from a stack."""

from __future__ import annotations

from pathlib import Path

import click

from elmlff_core.cli.options import loading_options, options, placement_from, placement_options


@click.command("predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="Structures; labels are not needed.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Output file in extxyz format.")
@click.option("--committee", is_flag=True, help="Also write what each base model predicts.")
@options(loading_options, placement_options)
def command(
    run: Path,
    data: str,
    output: Path,
    committee: bool,
    trust: bool,
    device: str,
    executor: str | None,
    workers: int | None,
) -> None:
    """Predict forces, energies and their uncertainties with the stack in RUN.

    Energies are written if the base models give them.  The standard deviation of the force components is the array
    forces_uncertainty in eV/Å, the standard deviation of the energy is energy_uncertainty in eV.  With --committee, the
    forces of the base models are the array forces_comm, their energies energy_comm, with the variance energy_var.
    """
    from elmlff_core.base_models.cache import FeatureCache
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.data.readers import read_structures
    from elmlff_core.data.writers import write_structures
    from elmlff_core.stack.frames import add_committee, predicted_frames
    from elmlff_core.stack.outside import outside_warning
    from elmlff_core.stack.place import StackPlace
    from elmlff_core.stack.stack import StackPrediction, load_stack
    from elmlff_core.workflows.predict import ManyStructures, Source, Workers, name_in_cache, predicted_blocks

    reporter, placement = ConsoleReporter(), placement_from(executor, workers)
    stack, structures = load_stack(run, trust, device), read_structures(data)
    many = ManyStructures(stack, structures, name_in_cache(structures), FeatureCache())
    shared = Workers(placement, Source(StackPlace(run.expanduser().absolute(), trust, device), data))
    frames, parts = [], []
    with predicted_blocks(many, reporter, shared) as found_blocks:
        for block, found in found_blocks:
            predicted = list(predicted_frames(structures[block], found))
            if committee:
                add_committee(predicted, stack, many.features(block))
            frames += predicted
            parts.append(found)
    if warning := outside_warning(stack, StackPrediction.concatenate(parts)):
        reporter.warn(warning)
    write_structures(frames, output)
    reporter.say(f"{len(structures)} structures written to {output}")
