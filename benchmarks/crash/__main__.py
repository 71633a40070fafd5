"""Kill stacks, sweeps and predictions at random, fill their disk, and compare with uninterrupted runs: `make crash`.

    python benchmarks/crash [--kills 100] [--seed 0] [--folder FOLDER] [--other FOLDER] [--only NUMBER] [--no-disk]

Prints a line for each failure and a table at the end, and exits with 1 if anything differs.  The folder keeps what was
done: started again, the same version of elmlff goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs import JOBS, REPOSITORY, Place, numbers
from kills import History, Ordeal, Reference, watched

HERE = Path(__file__).parent
TURNS = ("stack", "predict", "sweep", "stack", "predict")  # the jobs of successive histories


def main() -> None:
    """Run all histories and the full disk that are not done yet, and print the table."""
    options = arguments()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would hand on that it is ignored
    folder, other = options.folder.resolve(), options.other.resolve()
    done = opened(folder, {"seed": options.seed, "code": version()})
    say_where(folder, other)
    references = made_references(folder / "references")
    kept = [History(**record) for record in done.get("history", [])]
    numbers_done = {history.number for history in kept}
    for number, n_kills in plan(options.kills, options.seed):
        if options.only is not None and number != options.only:
            continue
        if options.only is None and number in numbers_done:
            continue
        history = one_history(number, n_kills, options.seed, folder, other, references)
        kept.append(history)
        write(folder, "history", history.record)
        if not history.good:
            print(f"FAILED {failure(history)}", flush=True)
            print(
                f"    again: python benchmarks/crash --seed {options.seed} --only {number} --folder {folder}",
                flush=True,
            )
    disk = done.get("disk", [])
    if options.disk and options.only is None and not disk:
        disk = full_disk(folder)
    print_table(kept, disk)
    if any(not history.good for history in kept) or any(not is_good(case) for case in disk):
        raise SystemExit(1)


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of one history, to repeat it")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "elmlff-crash")
    parser.add_argument("--other", type=Path, default=Path("/dev/shm/elmlff-crash"), help="on another file system")
    parser.add_argument("--disk", action=argparse.BooleanOptionalAction, default=True, help="also fill a disk")
    return parser.parse_args()


def version() -> str:
    """Return a digest of the code: results of other code do not count."""
    digest = hashlib.sha256()
    for package in ("elmlff_core", "elmlff_plugins", "benchmarks/crash"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def opened(folder: Path, key: dict[str, Any]) -> dict[str, list[Any]]:
    """Return what an interrupted run of the same code has done in `folder`; empty the folder if there is none."""
    results = folder / "results.jsonl"
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    if not lines or lines[0] != key:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        results.write_text(json.dumps(key) + "\n")
        return {}
    done: dict[str, list[Any]] = {}
    for line in lines[1:]:
        done.setdefault(line["what"], []).append(line["record"])
    print(f"going on in {folder}: {len(done.get('history', []))} histories are done")
    return done


def write(folder: Path, what: str, record: Any) -> None:
    """Append a result."""
    with (folder / "results.jsonl").open("a") as file:
        file.write(json.dumps({"what": what, "record": record}) + "\n")


def say_where(folder: Path, other: Path) -> None:
    """Say where the folders lie, and whether on different file systems."""
    other.mkdir(parents=True, exist_ok=True)
    differ = os.stat(folder).st_dev != os.stat(other).st_dev
    print(f"folders: {folder} and {other}, {'different file systems' if differ else 'ONE FILE SYSTEM, not two'}")


def made_references(folder: Path) -> dict[str, Reference]:
    """Return the uninterrupted run of each job."""
    record = folder / "references.pickle"
    if record.exists():
        found: dict[str, Reference] = pickle.loads(record.read_bytes())
        return found
    found = {}
    for name, job in JOBS.items():
        place = Place(folder / name / "work", folder / name / "cache", folder / name / "tmp")
        job.set_up(place, folder)
        given = place.files()
        code, seconds, used, n_changes = watched(job, place, "reference", folder / f"{name}.log")
        if code:
            raise SystemExit(f"the uninterrupted {name} failed: see {folder / name}.log")
        found[name] = Reference(used, n_changes, place.files(), numbers(place))
        n_new = len(found[name].files - given)
        times = f"{seconds:.1f} s, {used:.1f} s of the processor"
        print(f"uninterrupted {name}: {times}, {n_new} files, {n_changes} changes seen", flush=True)
    record.write_bytes(pickle.dumps(found))
    return found


def plan(n_kills: int, seed: int) -> Iterator[tuple[int, int]]:
    """Yield the number of each history and its kills, one to three, `n_kills` in all."""
    number = 0
    while n_kills > 0:
        kills = min(n_kills, random.Random(f"plan {seed} {number}").choice((1, 2, 2, 3)))
        yield number, kills
        n_kills -= kills
        number += 1


def one_history(
    number: int, n_kills: int, seed: int, folder: Path, other: Path, references: dict[str, Reference]
) -> History:
    """Run one history; its folders are kept if it fails."""
    job = JOBS[TURNS[number % len(TURNS)]]
    # Results on the one file system, cache and TMPDIR on the other, in turn.
    first, second = (folder, other) if number % 2 == 0 else (other, folder)
    name = f"history-{number}"
    place = Place(first / name / "work", second / name / "cache", second / name / "tmp")
    log = folder / f"{name}.log"
    log.write_bytes(b"")
    history = History(number, job.name, f"{first / name}, cache and TMPDIR {second / name}")
    Ordeal(job, place, references[job.name], folder / "references", history, f"{seed}-{number}", log).suffer(n_kills)
    if history.good:
        for path in (first / name, second / name):
            shutil.rmtree(path, ignore_errors=True)
        log.unlink()
    print(f"{number}: {job.name}, {', '.join(kill_in_words(kill) for kill in history.kills)}", flush=True)
    return history


def kill_in_words(kill: dict[str, Any]) -> str:
    """Describe a kill in a line."""
    when = f"at {kill['came']} processor s" + ("" if kill["at"] == "time" else f" ({kill['at']})")
    return f"{kill['signal']} {when}, code {kill['code']} after {kill['ended']} s"


def failure(history: History) -> str:
    """Describe what a history has found, in a line."""
    parts = {
        "other numbers in": history.different, "torn": history.torn, "files too many or too few": history.fragments,
        "outlived": history.orphans, "": history.faults,
    }  # fmt: skip
    found = "; ".join(f"{name} {', '.join(items)}".strip() for name, items in parts.items() if items)
    return f"{history.number}: {history.job} in {history.folders}: {found}"


def full_disk(folder: Path) -> list[dict[str, Any]]:
    """Run the cases of a full disk, and return them."""
    found = []
    command = [sys.executable, str(HERE / "full_disk.py"), str(folder / "references")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("#"):
                print(line.lstrip("# "), end="", flush=True)
                continue
            case = json.loads(line)
            found.append(case)
            result = "" if is_good(case) else f" FAILED: {'; '.join([*case['faults'], *case['different']])}"
            print(
                f"{case['kind']} of {case['size']} kB for {case['part']} of {case['job']}: code {case['code']}, "
                f"{case['message'] if case['code'] else 'enough'}{result}",
                flush=True,
            )
    if process.returncode:
        raise SystemExit(f"full_disk.py ended with code {process.returncode}")
    for case in found:
        write(folder, "disk", case)
    return found


def is_good(case: dict[str, Any]) -> bool:
    """Whether a case of the full disk went well."""
    return case["resumed"] and not case["different"] and not case["faults"]


def print_table(histories: list[History], disk: list[dict[str, Any]]) -> None:
    """Print a row for each job."""
    print("\n| job | kills | resumed | same numbers | torn files | fragments | orphans | slowest end (s) |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for job in [*JOBS, None]:
        own = [history for history in histories if job in (history.job, None)]
        kills = [kill for history in own for kill in history.kills]

        def n(condition: str, own: list[History] = own) -> int:
            return sum(len(history.kills) for history in own if getattr(history, condition))

        resumed = n("resumed")
        same = sum(len(history.kills) for history in own if history.resumed and not history.different)
        soft = [kill["ended"] for kill in kills if kill["signal"] != "SIGKILL"]
        print(
            f"| {job or 'all'} | {len(kills)} | {resumed} | {same} | {n('torn')} | {n('fragments')} | {n('orphans')} | "
            f"{max(soft, default=0):.1f} |"
        )
    if disk:
        full = [case for case in disk if case["code"]]
        good = sum(map(is_good, disk))
        print(
            f"\nfull disk ({disk[0]['kind']}): {len(disk)} runs, {len(full)} of them met a full disk; "
            f"{good} of {len(disk)} ended in one line and later with the same numbers"
        )
    faults = [fault for history in histories for fault in history.faults]
    print(f"other faults: {len(faults)}")


if __name__ == "__main__":
    main()
