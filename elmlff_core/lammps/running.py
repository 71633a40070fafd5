"""`run_input`: an input file of LAMMPS with a stack as its force field."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elmlff_core.contracts.progress import Reporter
from elmlff_core.errors import ElmlffError
from elmlff_core.lammps.coupling import Coupling, couple
from elmlff_core.lammps.library import start_lammps
from elmlff_core.lammps.script import Script, read_commands
from elmlff_core.stack.stack import Stack

# Commands that make the system.  Before any other the stack is coupled: `replicate` refuses fixes that store numbers of
# atoms, and fixes must come after that of the stack, or `fix setforce` would not hold its atoms.
BUILDING = {
    "atom_modify", "change_box", "comm_modify", "comm_style", "create_atoms", "create_box", "delete_atoms",
    "displace_atoms", "echo", "group", "labelmap", "lattice", "log", "mass", "neigh_modify", "neighbor", "pair_coeff",
    "pair_modify", "pair_style", "print", "region", "replicate", "set", "shell", "thermo", "timestep", "variable",
    "velocity",
}  # fmt: skip
NO_FORCES = {"none", "zero"}  # pair styles


def run_input(
    stack: Stack,
    path: Path,
    elements: Sequence[str] | None = None,
    arguments: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> int:
    """Execute an input file of LAMMPS with `stack` as its force field, and return the exit code that it names.

    The file needs no line for the stack.  It is coupled (`couple`) when the box has been made, before the first fix,
    and again after ``clear``.

    Parameters
    ----------
    stack : the stack
    path : input file
    elements : as for `couple`
    arguments : command line arguments of LAMMPS
    reporter : where types, and what is strange, are reported

    Raises
    ------
    ElmlffError
        LAMMPS is missing or refuses a command; the file never asks for forces; the stack cannot be applied.
    """
    read_commands(path)  # a file that is not there needs no LAMMPS to find out
    lmp = start_lammps(arguments)
    with contextlib.closing(lmp):
        run = _Run(lmp, stack, elements, reporter or Reporter())
        try:
            code = Script(lmp, run.before, run.after).run(path)
        finally:
            lmp.flush_buffers()
        if run.coupling is None or not run.coupling.calls:
            raise ElmlffError(
                f"{path} has not used the stack: it needs a box (create_box, read_data, read_restart), and run or "
                "minimize"
            )
        return code


class _Run:
    """What is done between the commands of an input file."""

    def __init__(self, lmp: Any, stack: Stack, elements: Sequence[str] | None, reporter: Reporter) -> None:
        self.lmp, self.stack, self.elements, self.reporter = lmp, stack, elements, reporter
        self.coupling: Coupling | None = None
        self.said = ""

    def before(self, words: Sequence[str]) -> None:
        """Couple the stack, if it is time."""
        name = words[0]
        if name == "pair_style" and not NO_FORCES & set(words[1:2]):
            self.reporter.warn(f"the forces of `{' '.join(words)}` are added to those of the stack")
        if name in BUILDING or not self.lmp.extract_setting("box_exist"):
            return
        if self.coupling is None:
            self.coupling = couple(self.lmp, self.stack, self.elements)
        elif not self.coupling.is_attached:
            self.coupling.attach()

    def after(self, _: Sequence[str]) -> None:
        """Say which types are which elements, when that is known."""
        if self.coupling is not None and self.said != self.coupling.types:
            self.said = self.coupling.types
            self.lmp.flush_buffers()
            self.reporter.say(f"elmlff: {self.said}")
