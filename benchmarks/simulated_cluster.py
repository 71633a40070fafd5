"""The paper's study with five folds on a simulated cluster of 64 workers, whose tasks sleep instead of computing.

    python benchmarks/simulated_cluster.py [--workers 64] [--seconds 60]

The tasks are those of `elmlff sweep --folds 5 --method per-subset` for the eight base models of methanol on copper: 48
trainings, then 255 fits.  They go through `run_tasks` and a scheduler of Dask, and sleep for what they would take,
divided so that each of the two phases lasts `--seconds`.  Times of work are measured; see `TRAININGS` and `FIT`.
"""

from __future__ import annotations

import argparse
import heapq
import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distributed import LocalCluster
from measuring import shown

from elmlff_core.contracts.progress import Reporter
from elmlff_core.execution.placement import DASK, Placement
from elmlff_core.execution.tasks import Task, run_tasks

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
N_FOLDS = 5
N_FRAMES = 7292  # training structures of the paper, less a tenth for validation
# Base model -> seconds of a step on one core (`training_rates.py`), and steps of the budget `paper`; None where it
# counts epochs, of which a training without a fold has shorter ones.
EPOCHS, BATCH = 1000, 10
TRAININGS: dict[str, tuple[float, int | None]] = {
    "dp1": (0.5, 70_000),  # docs/reproduce.md; for dp3 it says "several seconds"
    "dp2": (0.5, 70_000),
    "dp3": (5.0, 5_000),
    "sch1": (0.53, None),
    "sch2": (0.26, None),
    "sch3": (1.3, None),
    "painn": (1.8, None),
    "nep": (0.31, 100_000),
}
# `gat` with the paper's target took 20 minutes for 40 epochs of 2,237 structures (docs/results.md); the paper has 300.
FIT = 20 * 60 * 300 / 40 * N_FRAMES / 2237


@dataclass(frozen=True)
class Sleeps:
    """Stands for a task of so many seconds."""

    seconds: float

    def __call__(self, _: Reporter) -> None:
        time.sleep(self.seconds)


def trainings() -> list[tuple[str, float]]:
    """Return the trainings in the order in which elmlff submits them, with their seconds."""
    found = []
    for name, (rate, steps) in TRAININGS.items():
        for fold in range(N_FOLDS + 1):
            frames = N_FRAMES if fold == 0 else N_FRAMES * (N_FOLDS - 1) / N_FOLDS
            n_steps = EPOCHS * frames / BATCH if steps is None else steps
            found.append((f"training {name}" + (f" without fold {fold}" if fold else ""), rate * n_steps))
    return found


def fits() -> list[tuple[str, float]]:
    """Return the fits of all subsets, with their seconds."""
    return [(f"fitting subset {number}", FIT) for number in range(1, 2 ** len(TRAININGS))]


def main() -> None:
    """Print the length of the schedule, what bounds it, and what a task costs beside its work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    phases = {"trainings": trainings(), "fits": fits()}
    with LocalCluster(
        n_workers=given.workers,
        threads_per_worker=1,
        processes=False,
        dashboard_address=None,
        silence_logs=logging.ERROR,
    ) as cluster:
        placement = Placement(DASK, given.workers, address=cluster.scheduler_address)
        idle = measured([(name, 0.0) for name, _ in phases["fits"]], placement, 1.0)
        print(f"{len(phases['fits'])} tasks of no work: {shown(idle)}, {shown(idle / len(phases['fits']))} a task")
        total = 0.0
        for title, tasks in phases.items():
            ideal = scheduled([seconds for _, seconds in tasks], given.workers)
            length = measured(tasks, placement, ideal / given.seconds)
            total += length
            print_phase(title, tasks, given.workers, length, ideal)
    chain, work = (sum(f(phase) for phase in phases.values()) for f in (longest, summed))
    print(
        f"all: {length_of(total)}; longest chain {length_of(chain)}, work / workers {length_of(work / given.workers)}"
    )


def measured(tasks: Sequence[tuple[str, float]], placement: Placement, faster: float) -> float:
    """Run the tasks, and return the seconds that they would take on a cluster that is not simulated."""
    with tempfile.TemporaryDirectory() as logs:
        started = time.perf_counter()
        sleeping = [Task(name, Sleeps(seconds / faster)) for name, seconds in tasks]
        run_tasks(sleeping, placement, Path(logs), "simulated", Reporter())
        return (time.perf_counter() - started) * faster


def print_phase(title: str, tasks: Sequence[tuple[str, float]], n_workers: int, length: float, ideal: float) -> None:
    """Print what a phase took, and the bounds below which no schedule is."""
    bounds = {"its longest task": longest(tasks), "the work of all workers": summed(tasks) / n_workers}
    print(
        f"{title}: {len(tasks)} tasks, {length_of(length)}; longest task {length_of(longest(tasks))}, work / workers "
        f"{length_of(bounds['the work of all workers'])}, schedule without overhead {length_of(ideal)}; limited by "
        f"{max(bounds, key=lambda name: bounds[name])}"
    )


def longest(tasks: Sequence[tuple[str, float]]) -> float:
    """Return the seconds of the longest task."""
    return max(seconds for _, seconds in tasks)


def summed(tasks: Sequence[tuple[str, float]]) -> float:
    """Return the seconds of all tasks."""
    return sum(seconds for _, seconds in tasks)


def scheduled(seconds: Sequence[float], n_workers: int) -> float:
    """Return the length of a schedule in which each worker that is free takes the next task."""
    free = [0.0] * n_workers
    for duration in seconds:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def length_of(seconds: float) -> str:
    """Return a long time as text."""
    unit, size = ("d", DAY) if seconds >= DAY else ("h", HOUR) if seconds >= HOUR else ("min", MINUTE)
    return f"{seconds / size:.1f} {unit}"


if __name__ == "__main__":
    main()
