"""Memory and time of `elmlff predict` on 10,976 atoms: in blocks of atoms, and all atoms at once.

The stacks are trained here for two epochs, on which memory does not depend.  Their base models are ASE's own EMT and
Lennard-Jones calculators.  Each prediction is a process of its own, and its memory is the peak of the whole process.

    python benchmarks/prediction_memory.py [N_ATOMS]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ase.io
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from measuring import Comparison, shown
from structures import crystal

N_ATOMS = 10_976
LIMIT = 1024  # MB
SETTINGS = """
[data]
train = "copper.extxyz"
[training]
epochs = 2
[models.lj]
adapter = "ase"
options.calculator = "ase.calculators.lj:LennardJones"
options.arguments = {sigma = 2.3, epsilon = 0.4, rc = 5.0, smooth = true}
[models.emt]
adapter = "ase"
options.calculator = "ase.calculators.emt:EMT"
options.arguments = {asap_cutoff = true}
"""
AT_ONCE = """
import sys
from elmlff_core.cli.main import main
from elmlff_core.graphs import pairs_of_batch
pairs_of_batch.BLOCK_EDGES = sys.maxsize
main()
"""


def main() -> None:
    """Make the stacks, and compare both ways for each meta-model."""
    n_atoms = int(sys.argv[1]) if len(sys.argv) > 1 else N_ATOMS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"ELMLFF_CACHE": str(folder / "cache"), "ELMLFF_TRUST_STORE": str(folder / "trust.json")}
        ase.io.write(folder / "copper.extxyz", [labelled(108, seed) for seed in range(30)])
        ase.io.write(folder / "large.extxyz", crystal(n_atoms))
        (folder / "elmlff.toml").write_text(SETTINGS)
        for meta in ("egat", "conservative"):
            run(folder, "-m", "elmlff_core", "stack", "--meta", meta, "--output", meta)
            arguments = ("predict", meta, "--data", "large.extxyz", "-o", "predicted.extxyz")
            seconds, memory = run(folder, "-m", "elmlff_core", *arguments)
            seconds_at_once, memory_at_once = run(folder, "-c", AT_ONCE, *arguments)
            Comparison(
                f"memory of predicting {n_atoms:,} atoms with {meta}", "a limit", f"{memory:.0f} MB", f"{LIMIT} MB",
                memory / LIMIT, 1.0, "at most",
                f"{shown(seconds)}; all at once {memory_at_once:.0f} MB, {shown(seconds_at_once)}",
            ).print()  # fmt: skip


def labelled(n_atoms: int, seed: int) -> Atoms:
    """Return a crystal of copper, rattled by 0.08 Å, with the energy and forces of EMT."""
    atoms = crystal(n_atoms)
    atoms.rattle(0.08, seed=seed)
    atoms.calc = EMT()
    atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    return atoms


def run(folder: Path, *arguments: str) -> tuple[float, float]:
    """Run Python in `folder` and return the seconds and the peak of memory in MB."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments[2:])} failed")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
