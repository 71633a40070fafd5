"""One history of a job: kill it one to three times at random, run it to its end, and compare."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobs import TOKEN, Job, Place, differences, numbers
from safetensors import SafetensorError, safe_open

SIGNALS = (signal.SIGKILL,) * 4 + (signal.SIGTERM, signal.SIGINT)
# A signal that comes while Python starts ends it without a word of elmlff.
CODES = {
    signal.SIGKILL: {-signal.SIGKILL},
    signal.SIGTERM: {143, -signal.SIGTERM},
    signal.SIGINT: {130, -signal.SIGINT},
}
POLL = 0.004  # seconds between looks at the folders
GRACE = 180.0  # seconds that a signal, or the end of children, may take
PARTIAL = ".partial"
OLD = b"an older file\n"  # what is at the place of the predictions before


@dataclass
class History:
    """What happened to a job that was killed.

    Attributes
    ----------
    number, job, folders : number of the history, name of the job, and where its folders lie
    kills : for each kill the signal, when it came, the exit code and the seconds until the end
    resumed : whether the same command then ended with success
    different : files with other numbers than in the uninterrupted run
    torn : files that were neither whole nor absent after a kill
    fragments : files at the end that the uninterrupted run does not leave, and the other way round
    orphans : processes that outlived the command
    """

    number: int
    job: str
    folders: str
    kills: list[dict[str, Any]] = field(default_factory=list)
    resumed: bool = False
    different: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    fragments: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing was lost and nothing was left."""
        return self.resumed and not any((self.different, self.torn, self.fragments, self.orphans, self.faults))

    @property
    def record(self) -> dict[str, Any]:
        """The history as data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Reference:
    """The uninterrupted run of a job: seconds of the processor, changes in its folders, its files and numbers."""

    processor_seconds: float
    n_changes: int
    files: set[str]
    numbers: dict[str, Any]


class Changes:
    """Counts changes in the folders of a job, as far as they are seen."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.seen = self._look()
        self.count = 0

    def look(self) -> int:
        """Look at the folders, and return the number of changes so far."""
        now = self._look()
        if now != self.seen:
            self.count += len(now.items() ^ self.seen.items())
            self.seen = now
        return self.count

    def _look(self) -> dict[str, tuple[int, int]]:
        found, left = {}, [str(folder) for folder in self.place.folders.values()]
        while left:
            try:
                with os.scandir(left.pop()) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            left.append(entry.path)
                        status = entry.stat(follow_symlinks=False)
                        found[entry.path] = (status.st_size, status.st_mtime_ns)
            except OSError:  # gone in the meantime
                continue
        return found


def watched(job: Job, place: Place, token: str, log: Path) -> tuple[int, float, float, int]:
    """Run a job to its end; return exit code, seconds, seconds of the processor, and the number of changes."""
    changes, started, used = Changes(place), time.monotonic(), _used_by_children()
    process = job.start(place, token, log)
    while (code := process.poll()) is None:
        changes.look()
        time.sleep(POLL)
    return code, time.monotonic() - started, _used_by_children() - used, changes.look()


def _used_by_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def processor_seconds(pid: int) -> float:
    """Return the seconds that a process and its children have used: unlike time, they do not depend on the load."""
    total, left = 0, [pid]
    while left:
        folder = Path(f"/proc/{left.pop()}")
        try:
            total += sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:15]))
            for task in (folder / "task").iterdir():
                left += map(int, (task / "children").read_text().split())
        except OSError:  # ended in the meantime
            continue
    return total / os.sysconf("SC_CLK_TCK")


@dataclass
class Ordeal:
    """One job that is killed, and what is found.

    Attributes
    ----------
    job, place, reference : the job, its folders and its uninterrupted run
    references : folder of the uninterrupted runs
    history : receives what is found
    seed : decides signals and times
    log : file for the output of the job
    """

    job: Job
    place: Place
    reference: Reference
    references: Path
    history: History
    seed: str
    log: Path

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.token = f"{self.seed}-{os.getpid()}"

    def suffer(self, n_kills: int) -> None:
        """Kill the job `n_kills` times and run it to its end; start anew where it ended before it was killed."""
        self._begin()
        while len(self.history.kills) < n_kills:
            if self._kill():
                self.history.torn += torn_files(self.place, {OLD, str(self.reference.numbers.get("out.extxyz", ""))})
            else:
                self._compare()
                self._begin()
        code, _ = self.job.finish(self.place, self.token, self.log)
        self.history.resumed = code == 0
        if code:
            self.history.faults.append(f"the command that should have resumed ended with code {code}")
        else:
            self._compare()
        self.history.orphans += outlived(self.token)
        if "Traceback (most recent call last)" in self.log.read_text(errors="replace"):
            self.history.faults.append(f"there is a traceback in {self.log}")

    def _begin(self) -> None:
        self.job.set_up(self.place, self.references)
        if self.job.name == "predict" and self.rng.random() < 0.5:
            (self.place.work / "out.extxyz").write_bytes(OLD)

    def _compare(self) -> None:
        """Compare numbers and files with those of the uninterrupted run."""
        self.history.different += differences(numbers(self.place), self.reference.numbers)
        self.history.fragments += sorted(self.place.files() ^ self.reference.files)

    def _kill(self) -> bool:
        """Start the job and send a signal at a random time or change; return whether it came before the end."""
        number, at_change = self.rng.choice(SIGNALS), self.rng.random() < 0.6
        seconds = self.rng.uniform(0.02, 1.0) * self.reference.processor_seconds
        n_changes = self.rng.randint(1, self.reference.n_changes)
        changes = Changes(self.place)
        process = self.job.start(self.place, self.token, self.log)
        while process.poll() is None:
            if (changes.look() >= n_changes) if at_change else (processor_seconds(process.pid) >= seconds):
                break
            time.sleep(POLL if at_change else 0.05)
        came, started = processor_seconds(process.pid), time.monotonic()
        process.send_signal(number)
        try:
            code = process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
            self.history.faults.append(f"{number.name} did not end the command within {GRACE:.0f} s")
        ended = time.monotonic() - started
        self.history.orphans += outlived(self.token)
        if code == 0:
            return False
        if code not in CODES[number]:
            self.history.faults.append(f"exit code {code} after {number.name}, expected {sorted(CODES[number])}")
        self.history.kills.append(
            {"signal": number.name, "came": round(came, 2), "at": f"change {n_changes}" if at_change else "time",
             "code": code, "ended": round(ended, 2)}
        )  # fmt: skip
        return True


def outlived(token: str) -> list[str]:
    """Return the commands that outlived the job for `GRACE` seconds; they are then killed."""
    mark, deadline = f"{TOKEN}={token}".encode(), time.monotonic() + GRACE
    while (left := _with_mark(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    found = []
    for process in left:
        try:
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip())
            os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue
    return found


def _with_mark(mark: bytes) -> list[Path]:
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(process)
        except OSError:
            continue
    return found


def torn_files(place: Place, outputs: set[Any]) -> list[str]:
    """Return the files, outside of temporary folders, that are neither whole nor absent."""
    found = []
    for path in sorted(place.work.rglob("*")):
        if any(part.endswith(PARTIAL) for part in path.parts) or not path.is_file():
            continue
        data = path.read_bytes()
        whole = True
        if path.suffix == ".json":
            whole = _reads(lambda data=data: json.loads(data))
        elif path.suffix == ".safetensors":
            whole = _reads(lambda path=path: safe_open(path, "numpy").__enter__())
        elif path.suffix == ".html":
            whole = data.rstrip().endswith(b"</html>")
        elif path.suffix == ".png":
            whole = data.endswith(b"IEND\xaeB`\x82")
        elif path.suffix == ".csv":
            rows = list(csv.reader(data.decode().splitlines()))
            whole = bool(rows) and len({len(row) for row in rows}) == 1 and data.endswith(b"\n")
        elif path.name == "out.extxyz":
            whole = data in outputs or hashlib.sha256(data).hexdigest() in outputs
        if not whole:
            found.append(f"{path.relative_to(place.work)} ({len(data)} bytes)")
    return found


def _reads(read: Any) -> bool:
    try:
        read()
    except (ValueError, OSError, SafetensorError):
        return False
    return True
