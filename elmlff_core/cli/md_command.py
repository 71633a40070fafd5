"""`elmlff md STACK --structure FILE`: molecular dynamics with a stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from elmlff_core.cli.options import STOPPED, guard_from, guard_options, loading_options, options
from elmlff_core.simulation.settings import DynamicsSettings, Ensemble


def default(name: str) -> dict[str, Any]:
    """Return what gives an option the default of the setting `name`."""
    return {"default": DynamicsSettings.model_fields[name].default, "show_default": True}


@click.command("md")
@click.argument("stack", type=click.Path(path_type=Path))
@click.option("--structure", required=True, help="Where it starts: a file that ASE reads; its last structure is taken.")
@click.option(
    "--ensemble", type=click.Choice(get_args(Ensemble)), **default("ensemble"),
    help="Integrator; npt needs a stack with stress.",
)  # fmt: skip
@click.option("--temperature", type=float, **default("temperature"), help="K.")
@click.option("--final-temperature", type=float, help="K, reached linearly at the last step.")
@click.option("--pressure", type=float, **default("pressure"), help="GPa, for npt.")
@click.option("--timestep", type=float, **default("timestep"), help="fs.")
@click.option("--steps", type=int, **default("steps"), help="Number of steps.")
@click.option("--thermostat-time", type=float, **default("thermostat_time"), help="fs.")
@click.option("--barostat-time", type=float, **default("barostat_time"), help="fs.")
@click.option("--seed", type=int, **default("seed"), help="Seed of velocities and thermostats.")
@click.option("--write-every", type=int, **default("write_every"), help="Steps between frames and restart points.")
@click.option("--observe-every", type=int, **default("observe_every"), help="Steps between lines of model_devi.out.")
@click.option("--committee", is_flag=True, help="Also write what each base model predicts into the trajectory.")
@click.option(
    "--driver",
    help="Base model, or folder of a student, that moves the atoms while the stack looks on.",
)
@options(guard_options)
@click.option("--trajectory", default="trajectory.extxyz", show_default=True, help="Name; .traj is ASE's own format.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("elmlff-md"), show_default=True, help="Folder.")
@options(loading_options)
def command(
    stack: Path, structure: str, output: Path, trajectory: str, stop_above: float | None, warn_above: float | None,
    trust: bool, device: str, **values: Any,
) -> None:  # fmt: skip
    """Run molecular dynamics with the stack in STACK.

    The output folder gets the trajectory, with forces, energies and uncertainties, log.csv, and model_devi.out in the
    format of DeePMD-kit.  Run the same command again to go on after an interruption: the result is the same as without.
    If --stop-above ends the simulation, the last frame is the reason, and the exit code is 3.
    """
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.simulation.beginning import checked_settings, key_of, start_structure
    from elmlff_core.simulation.molecular_dynamics import run_dynamics
    from elmlff_core.stack.stack import load_stack

    guard = guard_from(stop_above, warn_above)
    settings, reporter = checked_settings(values), ConsoleReporter()
    atoms, loaded = start_structure(structure), load_stack(stack, trust, device)
    key = key_of(stack, atoms, settings)
    found = run_dynamics(loaded, atoms, settings, output, key, guard, trajectory, reporter)
    reporter.say(f"{found.step} steps of {settings.steps}, {found.step * settings.timestep / 1000:g} ps: {output}")
    if found.stopped:
        reporter.warn(f"stopped at {found.stopped}. The last frame of {trajectory} shows it")
        raise click.exceptions.Exit(STOPPED)
