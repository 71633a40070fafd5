"""`elmlff md STACK --structure FILE`: molecular dynamics with a stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elmlff_core.cli.options import loading_options, options

STOPPED = 3  # exit code


@click.command("md")
@click.argument("stack", type=click.Path(path_type=Path))
@click.option("--structure", required=True, help="Where it starts: a file that ASE reads; its last structure is taken.")
@click.option(
    "--ensemble",
    type=click.Choice(["nve", "nvt-langevin", "nvt-bussi", "npt"]),
    default="nvt-langevin",
    show_default=True,
    help="Integrator; npt needs a stack with stress.",
)
@click.option("--temperature", type=float, default=300.0, show_default=True, help="K.")
@click.option("--final-temperature", type=float, help="K, reached linearly at the last step.")
@click.option("--pressure", type=float, default=0.0, show_default=True, help="GPa, for npt.")
@click.option("--timestep", type=float, default=1.0, show_default=True, help="fs.")
@click.option("--steps", type=int, default=1000, show_default=True, help="Number of steps.")
@click.option("--thermostat-time", type=float, default=100.0, show_default=True, help="fs.")
@click.option("--barostat-time", type=float, default=1000.0, show_default=True, help="fs.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of velocities and thermostats.")
@click.option("--write-every", type=int, default=10, show_default=True, help="Steps between frames and restart points.")
@click.option("--observe-every", type=int, default=10, show_default=True, help="Steps between lines of model_devi.out.")
@click.option("--committee", is_flag=True, help="Also write what each base model predicts into the trajectory.")
@click.option("--driver", help="Base model that moves the atoms while the stack looks on every --observe-every steps.")
@click.option("--stop-above", type=float, help="End where the uncertainty of an atom passes this, eV/Å.")
@click.option("--warn-above", type=float, help="Say it where the uncertainty of an atom passes this, eV/Å.")
@click.option("--trajectory", default="trajectory.extxyz", show_default=True, help="Name; .traj is ASE's own format.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("elmlff-md"), show_default=True, help="Folder.")
@options(loading_options)
def command(
    stack: Path, structure: str, output: Path, trajectory: str, trust: bool, device: str, **values: Any
) -> None:  # fmt: skip
    """Run molecular dynamics with the stack in STACK.

    The output folder gets the trajectory, with forces, energies and uncertainties, log.csv, and model_devi.out in the
    format of DeePMD-kit.  Run the same command again to go on after an interruption: the result is the same as without.
    If --stop-above ends the simulation, the last frame is the reason, and the exit code is 3.
    """
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.errors import ConfigError
    from elmlff_core.simulation.beginning import checked_settings, key_of, start_structure
    from elmlff_core.simulation.molecular_dynamics import Guard, run_dynamics
    from elmlff_core.stack.stack import load_stack

    stop, warn = values.pop("stop_above"), values.pop("warn_above")
    if None not in (stop, warn):
        raise ConfigError("give --stop-above or --warn-above, not both")
    guard = Guard(warn, "warn") if stop is None else Guard(stop)
    settings, reporter = checked_settings(values), ConsoleReporter()
    atoms, loaded = start_structure(structure), load_stack(stack, trust, device)
    key = key_of(stack, atoms, settings)
    found = run_dynamics(loaded, atoms, settings, output, key, guard, trajectory, reporter)
    reporter.say(f"{found.step} steps of {settings.steps}, {found.step * settings.timestep / 1000:g} ps: {output}")
    if found.stopped:
        reporter.warn(f"stopped at {found.stopped}. The last frame of {trajectory} shows it")
        raise click.exceptions.Exit(STOPPED)
