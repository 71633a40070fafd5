"""`elmlff relax STACK --structure FILE`: relax a structure with a stack."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from elmlff_core.cli.options import loading_options, options


@click.command("relax")
@click.argument("stack", type=click.Path(path_type=Path))
@click.option("--structure", required=True, help="A file that ASE reads; its last structure is taken.")
@click.option("--optimizer", type=click.Choice(["bfgs", "fire"]), default="bfgs", show_default=True)
@click.option("--cell", is_flag=True, help="Relax the cell too; needs a stack with stress.")
@click.option(
    "--force",
    type=click.FloatRange(min=0, min_open=True),
    default=0.01,
    show_default=True,
    help="Limit of the largest force, eV/Å.",
)
@click.option("--steps", type=click.IntRange(min=0), default=500, show_default=True, help="Most steps.")
@click.option("--committee", is_flag=True, help="Also write what each base model predicts.")
@click.option("--trajectory", type=click.Path(path_type=Path), help="Also write every step; .extxyz, or .traj of ASE.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("relaxed.extxyz"),
    show_default=True,
    help="Output file in extxyz format.",
)
@options(loading_options)
def command(
    stack: Path, structure: str, optimizer: Literal["bfgs", "fire"], cell: bool, force: float, steps: int,
    committee: bool, trajectory: Path | None, output: Path, trust: bool, device: str,
) -> None:  # fmt: skip
    """Relax a structure with the stack in STACK.

    The exit code is 1 if it has not converged; the last structure is written all the same.
    """
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.errors import ElmlffError
    from elmlff_core.simulation.beginning import start_structure
    from elmlff_core.simulation.relaxation import relax
    from elmlff_core.stack.stack import load_stack

    reporter, atoms = ConsoleReporter(), start_structure(structure)
    loaded = load_stack(stack, trust, device)
    found = relax(loaded, atoms, output, optimizer, cell, force, steps, trajectory, committee, reporter)
    pressure = "" if found.pressure is None else f", pressure {found.pressure:.3f} GPa"
    result = f"{found.steps} steps, largest force {found.largest_force:.4f} eV/Å{pressure}: {output}"
    if not found.converged:
        raise ElmlffError(f"not converged to {force:g} eV/Å after {result}. Go on from it, or give more --steps")
    reporter.say(f"converged after {result}")
