"""`elmlff serve STACK --structure FILE --unix NAME`: a stack as a client of i-PI."""

from __future__ import annotations

from pathlib import Path

import click

from elmlff_core.cli.options import STOPPED, guard_from, guard_options, loading_options, options


@click.command("serve")
@click.argument("stack", type=click.Path(path_type=Path))
@click.option(
    "--structure",
    required=True,
    help="Elements and periodicity, in the order of i-PI's input: a file that ASE reads; its last structure is taken.",
)
@click.option("--unix", metavar="NAME", help="Address of i-PI's unix socket, as in its input.")
@click.option("--sockets-prefix", default="/tmp/ipi_", show_default=True, help="What i-PI puts before NAME.")
@click.option("--host", help="Host of i-PI, for a TCP/IP socket.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of i-PI, for a TCP/IP socket.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="How long to wait for an i-PI that does not listen yet, s.",
)
@options(guard_options)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("stopped.extxyz"),
    show_default=True,
    help="File for the structure at which --stop-above ends.",
)
@options(loading_options)
def command(
    stack: Path, structure: str, unix: str | None, sockets_prefix: str, host: str | None, port: int | None, wait: float,
    stop_above: float | None, warn_above: float | None, output: Path, trust: bool, device: str,
) -> None:  # fmt: skip
    """Give forces to a simulation of i-PI with the stack in STACK.

    i-PI gets energies, forces and virials, and as extras what each base model predicts and how sure the stack is.  The
    command ends when i-PI does.  Name its socket by --unix, or by --host and --port.  If --stop-above ends it, the exit
    code is 3, and i-PI waits for another client.
    """
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.data.writers import write_structures
    from elmlff_core.errors import ConfigError
    from elmlff_core.ipi.client import Address, serve
    from elmlff_core.ipi.evaluation import Evaluation, UncertainError
    from elmlff_core.simulation.beginning import start_structure
    from elmlff_core.stack.stack import load_stack

    if unix is not None and host is None and port is None:
        address = Address(sockets_prefix + unix)
    elif unix is None and host is not None and port is not None:
        address = Address(None, host, port)
    else:
        raise ConfigError("name the socket of i-PI by --unix NAME, or by --host HOST and --port PORT")
    guard = guard_from(stop_above, warn_above)
    reporter, atoms = ConsoleReporter(), start_structure(structure)
    loaded = load_stack(stack, trust, device)
    evaluation = Evaluation(loaded, atoms, structure, reporter, guard)
    reporter.say(f"{', '.join(loaded.names)}: {atoms.symbols.formula}, {len(atoms)} atoms")
    if evaluation.no_virial:
        reporter.warn(f"i-PI gets no virial (nan), and cannot control the pressure: {evaluation.no_virial}")
    try:
        n_structures = serve(evaluation, address, wait, reporter)
    except UncertainError as stop:
        write_structures([stop.frame], output)
        reporter.warn(
            f"stopped at {stop}. {output} has it. i-PI waits for another client: serve it again with a higher bound, "
            "or end it by a file EXIT in its folder"
        )
        raise click.exceptions.Exit(STOPPED) from stop
    reporter.say(f"i-PI has ended: {n_structures} structures")
