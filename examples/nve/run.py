"""Total energy in molecular dynamics without a thermostat, as a test of energy conservation by stacks.

    elmlff stack --models dp1,nep --meta egat,conservative --output stacks
    python examples/nve/run.py stacks/stacks/conservative stacks/stacks/egat

Each stack runs the first structure of the embedded example, from the same velocities, with the velocity Verlet
algorithm.  The program writes ``energy.csv`` and ``energy.png`` to the output folder, and prints the drift of each
stack.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from matplotlib.figure import Figure

from elmlff_core import StackCalculator
from elmlff_core.data.splits import read_splits
from elmlff_core.settings.config import DataConfig

RECORD_EVERY = 10  # steps


def arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stacks", nargs="+", type=Path, help="folders of stacks")
    parser.add_argument("--data", default="methane", help="dataset of the first structure")
    parser.add_argument("--temperature", type=float, default=300.0, help="K, of the initial velocities")
    parser.add_argument("--picoseconds", type=float, default=10.0)
    parser.add_argument("--step", type=float, default=0.5, help="fs")
    parser.add_argument("--output", type=Path, default=Path("nve"))
    return parser.parse_args()


def start(atoms: Atoms, temperature: float) -> Atoms:
    """Return `atoms` with velocities drawn at `temperature` (K), without net momentum and rotation."""
    atoms = atoms.copy()
    rng = np.random.default_rng(0)
    thermalize_momenta(atoms, temperature, exact_temperature=True, rng=rng)
    Stationary(atoms)
    if not atoms.pbc.any():
        ZeroRotation(atoms)
    return atoms


def trajectory(atoms: Atoms, stack: Path, n_steps: int, step: float) -> np.ndarray:
    """Run a trajectory; return time (ps), total energy (eV) and temperature (K): (n_records, 3)."""
    atoms.calc = StackCalculator(stack)
    dynamics = VelocityVerlet(atoms, step * units.fs)
    rows: list[tuple[float, float, float]] = []

    def record() -> None:
        time = dynamics.get_number_of_steps() * step / 1000
        rows.append((time, atoms.get_total_energy(), atoms.get_temperature()))
        if sys.stderr.isatty():
            print(f"\r{stack}: {time:.2f} ps", end="", file=sys.stderr)

    dynamics.attach(record, interval=RECORD_EVERY)
    dynamics.run(n_steps)
    return np.array(rows)


def drift(rows: np.ndarray, n_atoms: int) -> tuple[float, float]:
    """Return the slope of the total energy, meV per atom and ps, and the RMS fluctuation about it, meV per atom."""
    time, energy = rows[:, 0], 1000 * rows[:, 1] / n_atoms
    slope, offset = np.polyfit(time, energy, 1)
    return float(slope), float((energy - slope * time - offset).std())


def plot(results: dict[str, np.ndarray], n_atoms: int, path: Path) -> None:
    """Plot the change of the total energy over time, with one line for each stack."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, rows in results.items():
        slope, _ = drift(rows, n_atoms)
        change = 1000 * (rows[:, 1] - rows[0, 1]) / n_atoms
        axes.plot(rows[:, 0], change, linewidth=0.9, label=f"{name}: {slope:+.2g} meV/atom/ps")
    axes.set_xlabel("time (ps)")
    axes.set_ylabel("change of total energy (meV/atom)")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run every stack, and write the total energies."""
    given = arguments()
    first = read_splits(DataConfig(train=given.data)).source.structures[0]
    atoms = start(first, given.temperature)
    n_steps = round(1000 * given.picoseconds / given.step)
    given.output.mkdir(parents=True, exist_ok=True)
    results = {}
    for stack in given.stacks:
        results[stack.name] = rows = trajectory(atoms.copy(), stack, n_steps, given.step)
        slope, noise = drift(rows, len(atoms))
        print(
            f"{stack.name}: {n_steps} steps of {given.step} fs, mean temperature {rows[:, 2].mean():.0f} K, "
            f"drift {slope:+.3g} meV/atom/ps, fluctuation {noise:.3g} meV/atom",
            flush=True,
        )
    with (given.output / "energy.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("stack", "time_ps", "total_energy_eV", "temperature_K"))
        for name, rows in results.items():
            writer.writerows((name, *(f"{value:.9g}" for value in row)) for row in rows)
    plot(results, len(atoms), given.output / "energy.png")


if __name__ == "__main__":
    main()
