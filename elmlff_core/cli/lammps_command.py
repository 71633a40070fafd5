"""`elmlff lammps STACK INPUT`: run an input file of LAMMPS with a stack."""

from __future__ import annotations

from pathlib import Path

import click

from elmlff_core.cli.options import loading_options, options


@click.command("lammps")
@click.argument("stack", type=click.Path(path_type=Path))
@click.argument("input_file", metavar="INPUT", type=click.Path(path_type=Path))
@click.option("--elements", help="Elements of the atom types 1, 2, ...: Cu,Ni.  [default: type labels, or masses]")
@click.option(
    "-var",
    "--var",
    "variables",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Variable of the input file, as -var of LAMMPS; several values in quotes.",
)
@click.option("-log", "--log", help="Log file of LAMMPS, or none.  [default: log.lammps]")
@click.option("-screen", "--screen", help="File for what LAMMPS prints, or none.")
@options(loading_options)
def command(
    stack: Path, input_file: Path, elements: str | None, variables: tuple[tuple[str, str], ...], log: str | None,
    screen: str | None, trust: bool, device: str,
) -> None:  # fmt: skip
    """Run the LAMMPS input file INPUT with the stack in STACK as force field.

    INPUT needs no pair style, no line for the stack, and `units metal` or `units real`.  The stack becomes the fix
    `elmlff`, before all other fixes: f_elmlff[1] is the largest uncertainty of a force.  The exit code is 0, that of
    `quit` in INPUT, or 1 if LAMMPS or the stack refuses something.
    """
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.cli.options import names_in
    from elmlff_core.lammps.running import run_input
    from elmlff_core.stack.stack import load_stack

    arguments = ["-nocite"]
    for name, value in (("-log", log), ("-screen", screen)):
        arguments += [] if value is None else [name, value]
    for name, values in variables:
        arguments += ["-var", name, *values.split()]
    code = run_input(load_stack(stack, trust, device), input_file, names_in(elements), arguments, ConsoleReporter())
    if code:
        raise click.exceptions.Exit(code)
