"""Kill worker processes at random while a stack with folds is made on executors, and compare with `--workers 1`.

    python benchmarks/crash/workers.py [--executors dask,parsl,processes] [--kills 8] [--every 12] [--seed 0]

Three small base models are trained on all structures and without each of five folds: 18 tasks.  A kill is a SIGKILL to
the process that works on a task.  Prints a line for each kill and each executor, and exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import Job, Place, differences, numbers, write_structures
from kills import outlived

N_FOLDS, N_WORKERS = 5, 2
N_COMMANDS = 20  # a run that has not ended after as many commands never ends
GRACE = 20.0  # s in which the trainer of a killed worker has to end
POLL = 0.25  # s
SETTINGS = """
base_models = ["nep", "schnet", "painn"]

[data]
train = "labelled.extxyz"

[models.nep]
adapter = "nep"
options = { steps = 100, neuron = 4, basis_size = [4, 4], radial_cutoff = 5.0, batch_size = 8 }

[models.schnet]
adapter = "schnet"
options = { steps = 100, n_atom_basis = 16, n_interactions = 2, batch_size = 8, device = "cpu" }

[models.painn]
adapter = "painn"
options = { steps = 100, n_atom_basis = 16, n_interactions = 2, batch_size = 8, device = "cpu" }
"""


class Folds(Job):
    """`elmlff stack --folds` of base models that are trained."""

    def set_up(self, place: Place, references: Path) -> None:
        """Write data and settings."""
        place.make()
        write_structures(place.work)
        (place.work / "elmlff.toml").write_text(SETTINGS)


@dataclass
class Outcome:
    """What became of a run on one executor: its kills, its commands, and what was found wrong."""

    executor: str
    kills: int = 0
    commands: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """What became of it, as a line of text."""
        wrong = "; ".join(self.faults) or "the numbers of one process"
        return f"{self.executor}: {self.kills} kills, {self.commands} commands, {self.seconds:.0f} s: {wrong}"


def main() -> None:
    """Make the stack in one process, and then on each executor with kills."""
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="elmlff-workers-", dir=given.folder) as folder:
        expected = Place(*(Path(folder) / "reference" / name for name in ("work", "cache", "tmp")))
        job = made("serial")
        job.set_up(expected, expected.work)
        code, seconds = job.finish(expected, "reference", log := Path(folder) / "reference.log")
        if code:
            raise SystemExit(f"the uninterrupted stack failed:\n{log.read_text()}")
        print(f"--workers 1: {seconds:.0f} s", flush=True)
        outcomes = []
        for name in given.executors.split(","):
            outcomes.append(ordeal(name, Path(folder), expected, given))
            print(outcomes[-1].line, flush=True)
    if any(one.faults for one in outcomes):
        raise SystemExit(1)


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executors", default="dask,parsl,processes", help="names, with commas")
    parser.add_argument("--kills", type=int, default=8, help="at most, for each executor")
    parser.add_argument("--every", type=float, default=12.0, help="mean time between kills, s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where folders are made")
    return parser.parse_args()


def made(executor: str) -> Folds:
    """Return the job of the stack on an executor."""
    where = ("--workers", "1") if executor == "serial" else ("--executor", executor, "--workers", str(N_WORKERS))
    return Folds("folds", ("stack", "--folds", str(N_FOLDS), "--meta", "linear", "--output", "run", *where))


def ordeal(executor: str, folder: Path, expected: Place, given: argparse.Namespace) -> Outcome:
    """Make the stack on an executor whose workers are killed; the same command goes on where one fails."""
    place = Place(*(folder / executor / name for name in ("work", "cache", "tmp")))
    job, outcome, rng = made(executor), Outcome(executor), random.Random(f"{given.seed} {executor}")
    job.set_up(place, place.work)
    log, token, started, code = folder / f"{executor}.log", f"{executor}-{os.getpid()}", time.monotonic(), 1
    while code and outcome.commands < N_COMMANDS:
        outcome.commands += 1
        log.write_bytes(b"")
        process = job.start(place, token, log)
        while (code := wait(process, rng.expovariate(1 / given.every))) is None:
            if outcome.kills < given.kills:
                outcome.kills += kill_a_worker(place.work / "run" / "tasks", process.pid, token, rng, outcome.faults)
        if code:
            print(f"{executor}: code {code}, {log.read_text().splitlines()[-1][:300]}", flush=True)
        if outlasting := outlived(token):
            outcome.faults.append(f"outlived the command: {', '.join(outlasting)}")
    outcome.seconds = time.monotonic() - started
    if code:
        outcome.faults.append(f"not ended after {outcome.commands} commands")
    elif different := differences(results(place), results(expected)):
        outcome.faults.append(f"other numbers in {', '.join(different)}")
    return outcome


def results(place: Place) -> dict[str, Any]:
    """Return all numbers, without what has hashes of files of tensors: their metadata have no order."""
    return {
        name: found for name, found in numbers(place).items() if Path(name).name not in ("trained.json", "stack.json")
    }


def wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Return the exit code of a command, or None if it has not ended after `seconds`."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def kill_a_worker(tasks: Path, command: int, token: str, rng: random.Random, faults: list[str]) -> bool:
    """Kill one of the processes that work on tasks, check that its children end, and return whether there was one."""
    workers: dict[int, str] = {}
    for path in sorted(tasks.glob("*.status")):
        pid = int(json.loads(path.read_text())["where"].rpartition(":")[2])
        if pid != command and belongs(pid, token):
            workers[pid] = path.stem
    if not workers:
        return False
    pid = rng.choice(list(workers))
    children = [child for child in below(pid) if belongs(child, token)]
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + GRACE
    while (left := [child for child in children if belongs(child, token)]) and time.monotonic() < deadline:
        time.sleep(POLL)
    if left:
        faults.append(f"{len(left)} processes of a killed worker lived on")
    print(f"killed a worker with {len(children)} processes below it; its latest task: {workers[pid]}", flush=True)
    return True


def belongs(pid: int, token: str) -> bool:
    """Return whether a process runs and belongs to the command with this token."""
    try:
        return f"ELMLFF_CRASH={token}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def below(pid: int) -> Sequence[int]:
    """Return the processes that a process has started, and those that they have."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, thread.read_text().split()):
            found += [child, *below(child)]
    return found


if __name__ == "__main__":
    sys.exit(main())
