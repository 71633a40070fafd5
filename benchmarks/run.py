"""Run all benchmarks, each in its own process, and write a table and JSON.

    python benchmarks/run.py [NAME ...] [-- --base-model nep=nep.txt --base-model painn=painn.pt --data frames.extxyz]

The arguments after the dashes are base models and structures for `calculator` and `features`, which replace those that
`make demo` trained.
Each process has one thread unless OMP_NUM_THREADS is set: two processes on two cores are the usual case, and with one
thread times depend least on the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from measuring import MARK, machine

HERE = Path(__file__).parent
BENCHMARKS = (
    "gat_step", "large_structures", "neighbours", "data_path", "linear_fit", "startup", "second_run",
    "calculator", "features", "meta_model_cost", "worker_overhead", "stack_memory", "prediction_memory",
)  # fmt: skip
TAKE_BASE_MODELS = ("calculator", "features", "meta_model_cost")
RESULTS = Path("benchmark-results.json")


def main(names: list[str], base_models: list[str]) -> None:
    """Run the benchmarks, print a table, write `RESULTS`, and exit with 1 if a benchmark failed."""
    if unknown := [name for name in names if name not in BENCHMARKS]:
        raise SystemExit(f"no benchmark is called '{unknown[0]}': {', '.join(BENCHMARKS)}")
    rows, failed = [], []
    environment = {"OMP_NUM_THREADS": "1"} | dict(os.environ)
    for name in names or BENCHMARKS:
        print(f"== {name}", flush=True)
        process = subprocess.Popen(
            [sys.executable, str(HERE / f"{name}.py"), *(base_models if name in TAKE_BASE_MODELS else [])],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(MARK):
                rows.append({"benchmark": name} | json.loads(line.removeprefix(MARK)))
            else:
                print(line, end="", flush=True)
        if process.wait():
            failed.append(name)
    print("\n| what | here | against | there | ratio | bound | reached |\n| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['what']} | {row['here']} | {row['against']} | {row['there']} | {row['ratio']:.3g} | "
            f"{row['sense']} {row['bound']:g} | {'yes' if row['reached'] else 'no'} |"
        )
    threads = environment["OMP_NUM_THREADS"]
    RESULTS.write_text(json.dumps({"machine": machine() | {"OMP_NUM_THREADS": threads}, "rows": rows}, indent=1))
    print(f"\n{RESULTS}: OMP_NUM_THREADS={threads}, {machine()['cores']} cores")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    main(given[:end], given[end + 1 :])
