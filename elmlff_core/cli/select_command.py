"""`elmlff select STACK TRAJECTORY...`: choose which structures to label next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elmlff_core.cli.options import loading_options, options


@click.command("select")
@click.argument("stack", type=click.Path(path_type=Path))
@click.argument("trajectories", metavar="TRAJECTORY...", nargs=-1, required=True, type=click.Path())
@click.option("-n", "--number", type=int, default=50, show_default=True, help="Most structures that are chosen.")
@click.option("--low", type=float, help="Expected error from which a structure is worth a label, eV/Å.")
@click.option("--high", type=float, help="Upper end of its interval from which a structure counts as broken, eV/Å.")
@click.option("--labelled", help="What is labelled already.  [default: the structures on which the stack was fitted]")
@click.option(
    "--descriptors", default="soap", show_default=True,
    help="What tells structures apart: soap, surroundings, or a base model that has descriptors, such as nep.",
)  # fmt: skip
@click.option(
    "--smallest-distance",
    type=float,
    help="Descriptors of atoms nearer than this count as the same.  [default: from the labelled structures]",
)
@click.option(
    "--closest", type=float, default=0.6, show_default=True,
    help="Smallest distance of two atoms, in units of the sum of their covalent radii.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("elmlff-select"), show_default=True, help="Folder."
)
@options(loading_options)
def command(
    stack: Path, trajectories: tuple[str, ...], labelled: str | None, output: Path, trust: bool, device: str,
    **values: Any,
) -> None:  # fmt: skip
    """Choose which structures of trajectories to label next, by the stack in STACK.

    A TRAJECTORY is a file that ASE reads, a deepmd/npy folder, or the output folder of `elmlff md`.  Structures whose
    expected error lies in a window are candidates; of these, those are chosen that are least like all that is labelled
    and chosen before.  The output folder gets selected.extxyz, selected (deepmd/npy), model_devi.out of all structures,
    and frames.csv.
    """
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.selection.beginning import checked_settings, key_of
    from elmlff_core.selection.candidates import Candidates
    from elmlff_core.selection.labelled import Labelled
    from elmlff_core.selection.output import say_selection, write_selection
    from elmlff_core.selection.selection import select
    from elmlff_core.settings.run_folder import RunFolder
    from elmlff_core.stack.stack import load_stack

    settings, reporter = checked_settings(values), ConsoleReporter()
    loaded = load_stack(stack, trust, device)
    candidates, known = Candidates.read(trajectories), Labelled.read(labelled, loaded, stack.expanduser())
    run = RunFolder.open(output, key_of(stack, candidates, known, settings), settings)
    found = select(loaded, candidates, known, settings, reporter)
    write_selection(found, run.path, reporter)
    say_selection(found, settings.number, reporter)
    reporter.say(f"selected: {run.path}")
