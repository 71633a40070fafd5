"""Time that a worker adds: the same base model in this process and in a worker, measured in turn.

    OMP_NUM_THREADS=1 python benchmarks/worker_overhead.py
    OMP_NUM_THREADS=1 python benchmarks/worker_overhead.py --adapter nep --checkpoint nep.txt --data frames.extxyz

Without a checkpoint the base model is the effective medium theory of ASE on a copper slab of 54 atoms.  The program
prints medians and best times, and then all results as JSON.  On a busy machine the best times are more reliable.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from measuring import Comparison, shown
from structures import slabs

from elmlff_core.base_models.named import NamedModel, named_model
from elmlff_core.contracts.protocols import BaseForceField
from elmlff_core.data.readers import read_structures
from elmlff_core.settings.config import ModelConfig

BOUNDS = {"batch ratio": 1.05, "single overhead in ms": 2.0}
EMT = {"calculator": "ase.calculators.emt:EMT"}


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    structures = slabs(arguments.structures) if arguments.data is None else frames(arguments.data, arguments.structures)
    here, there = model(arguments, None), model(arguments, arguments.python)
    batch = compare(here.force_field, there.force_field, [structures], arguments.repeats)
    # The structures differ, because calculators of ASE keep the results of the last structure.
    single = compare(here.force_field, there.force_field, [[atoms] for atoms in structures], arguments.repeats)
    there.close()
    result = {
        "base model": f"{arguments.adapter} {arguments.checkpoint or ''}".strip(),
        "worker": arguments.python,
        "structures": len(structures),
        "atoms": len(structures[0]),
        "repeats": arguments.repeats,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "cores": len(os.sched_getaffinity(0)),
        "load average": round(os.getloadavg()[0], 1),
    }
    for name, statistic in (("", statistics.median), (" at best", min)):
        whole, one = ({key: statistic(values) for key, values in times.items()} for times in (batch, single))
        result[f"batch ratio{name}"] = round(whole["worker"] / whole["here"], 4)
        result[f"single overhead in ms{name}"] = round(1000 * (one["worker"] - one["here"]), 3)
        result[f"batch in s{name}"] = {key: round(value, 5) for key, value in whole.items()}
        result[f"single in s{name}"] = {key: round(value, 6) for key, value in one.items()}
    print(json.dumps(result, indent=1))
    name = f"{result['base model']} in a worker"
    times = result["batch in s"]
    Comparison(
        f"{name}, batch of {len(structures)}", "in process", shown(times["worker"]), shown(times["here"]),
        result["batch ratio"], BOUNDS["batch ratio"], "at most", f"at best {result['batch ratio at best']}",
    ).print()  # fmt: skip
    times = result["single in s"]
    Comparison(
        f"{name}, one structure", "in process", shown(times["worker"]), shown(times["here"]),
        result["single overhead in ms"], BOUNDS["single overhead in ms"], "at most",
        "the ratio is the additional time in ms",
    ).print()  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", default="ase")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--data", help="Structures; without it, copper slabs.")
    parser.add_argument("--structures", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument(
        "--python", default="self", help="Interpreter of the worker; times of another interpreter may differ."
    )
    return parser.parse_args()


def frames(path: str, n_structures: int) -> list[Atoms]:
    """Return evenly spaced structures of a file."""
    structures = read_structures(path)
    return [structures[i] for i in np.linspace(0, len(structures) - 1, n_structures).astype(int)]


def model(arguments: argparse.Namespace, python: str | None) -> NamedModel:
    """Return the base model, in this process or in a worker."""
    options: dict[str, Any] = EMT if arguments.adapter == "ase" else {}
    checkpoint = arguments.checkpoint
    settings = ModelConfig(
        adapter=arguments.adapter, checkpoint=checkpoint, trust=checkpoint is not None, options=options, python=python
    )
    return named_model("base model", settings)


def compare(
    here: BaseForceField, there: BaseForceField, batches: list[list[Atoms]], repeats: int
) -> dict[str, list[float]]:
    """Return mean seconds per batch of each repeat, in this process and in the worker, measured in turn."""
    force_fields = {"here": here, "worker": there}
    seconds: dict[str, list[float]] = {name: [] for name in force_fields}
    for repeat in range(repeats + 1):
        spent = dict.fromkeys(force_fields, 0.0)
        for batch in batches:
            for name, force_field in force_fields.items():
                started = time.perf_counter()
                force_field.predict(batch)
                spent[name] += time.perf_counter() - started
        if repeat > 0:  # the first round is not counted
            for name, total in spent.items():
                seconds[name].append(total / len(batches))
    return seconds


if __name__ == "__main__":
    main()
