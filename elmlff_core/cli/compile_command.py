"""`elmlff compile STACK --structure FILE`: compile the network of a stack, which makes small structures faster."""

from __future__ import annotations

from pathlib import Path

import click

from elmlff_core.cli.options import options, trust_option


@click.command("compile")
@click.argument("stack", type=click.Path(path_type=Path))
@click.option("--structure", required=True, help="A structure like those to predict; of a file, the last one is taken.")
@options([trust_option])
def command(stack: Path, structure: str, trust: bool) -> None:
    """Compile the network of the stack in STACK for the processor of this machine.

    It takes about half a minute and a C++ compiler.  Predictions, simulations and relaxations of single structures are
    then faster, most with fewer than some hundred atoms.  The compiled network is kept in the cache, where all commands
    find it; the stack is not changed.
    """
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.simulation.beginning import start_structure
    from elmlff_core.stack.compilation import compile_stack
    from elmlff_core.stack.stack import load_stack

    reporter, atoms = ConsoleReporter(), start_structure(structure)
    loaded = load_stack(stack, trust, "cpu")
    found = compile_stack(loaded, atoms, reporter)
    reporter.say(
        f"{loaded.meta_name}, {len(atoms):,} atoms: {1e3 * found.after:.2f} ms a prediction instead of "
        f"{1e3 * found.before:.2f} ms, beside {1e3 * found.base_models:.2f} ms of the base models; forces differ by "
        f"{found.difference:.0e} eV/Å at most"
    )
