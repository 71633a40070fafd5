"""Where the time of a stack goes with more workers, on paper: a table from measured rates, nothing is run.

    python benchmarks/strong_scaling.py

The stack: nep, painn and sch1 with an `egat`, on slabs of 54 atoms; each worker is one core.  Trainings have a fixed
number of steps, and are made once, without folds.
"""

from __future__ import annotations

from simulated_cluster import TRAININGS, length_of

from elmlff_core.workflows.plan import Plan, Step

N_ATOMS = 54
# Seconds an atom in predictions: the features of 500 slabs in docs/results.md, "Speed".
PREDICTION = {name: seconds / (500 * N_ATOMS) for name, seconds in {"nep": 1.10, "painn": 12.3, "sch1": 4.6}.items()}
TRAINING_STEPS = 100_000
# A step of `egat` of 8 slabs takes 94 ms (docs/results.md, "The meta-model itself").
FIT, EPOCHS = 0.094 / (8 * N_ATOMS), 40


def main() -> None:
    """Print the table."""
    print("| structures | workers | predictions | trained base models | fit | given base models, all | trained, all |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for n_structures in (100_000, 1_000_000):
        for n_workers in (1, 4, 16, 64):
            print(row(n_structures * N_ATOMS, n_structures, n_workers))


def row(n_atoms: int, n_structures: int, n_workers: int) -> str:
    """Return one row: times of phases, and of both ways."""
    parts = [
        Step(f"{name} {part}", seconds=rate * n_atoms / n_workers, after=(name,))
        for name, rate in PREDICTION.items()
        for part in range(n_workers)
    ]
    trainings = [Step(name, seconds=TRAININGS[name][0] * TRAINING_STEPS) for name in PREDICTION]
    given, trained = (Plan(steps, n_workers).seconds(n_workers) for steps in (parts, [*trainings, *parts]))
    fit = FIT * n_atoms * EPOCHS
    times = [given, trained, fit, given + fit, trained + fit]
    return f"| {n_structures:,} | {n_workers} | {' | '.join(map(length_of, times))} |"


if __name__ == "__main__":
    main()
