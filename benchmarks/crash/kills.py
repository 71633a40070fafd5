"""One history of a job: kill it one to three times at random, run it to its end, and compare."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import signal
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
GRACE = 60.0  # seconds that a signal, or the end of children, may take
PARTIAL = ".partial"


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
    """The uninterrupted run of a job: its seconds, the number of changes in its folders, its files and numbers."""

    seconds: float
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


def watched(job: Job, place: Place, token: str, log: Path) -> tuple[int, float, int]:
    """Run a job to its end; return exit code, seconds and the number of changes."""
    changes, started = Changes(place), time.monotonic()
    process = job.start(place, token, log)
    while (code := process.poll()) is None:
        changes.look()
        time.sleep(POLL)
    return code, time.monotonic() - started, changes.look()


def suffer(
    job: Job, place: Place, reference: Reference, history: History, n_kills: int, seed: str, log: Path
) -> History:
    """Kill `job` in `place` `n_kills` times, run it to its end, and write into `history` what was found."""
    rng = random.Random(seed)
    old = b"an older file\n"
    output = place.work / "out.extxyz"
    if job.name == "predict" and rng.random() < 0.5:
        output.write_bytes(old)
    token = f"{seed}-{os.getpid()}"
    for _ in range(n_kills):
        _kill(job, place, reference, history, rng, token, log)
        history.torn += torn_files(place, {old, reference_output(reference)})
    code, _ = job.finish(place, token, log)
    history.resumed = code == 0
    if code:
        history.faults.append(f"the command that should have resumed ended with code {code}")
    else:
        history.different = differences(numbers(place), reference.numbers)
        history.fragments = sorted(place.files() ^ reference.files)
    history.orphans += outlived(token)
    if "Traceback (most recent call last)" in log.read_text(errors="replace"):
        history.faults.append(f"there is a traceback in {log}")
    return history


def reference_output(reference: Reference) -> str:
    """Return the digest of the predictions of the uninterrupted run."""
    return str(reference.numbers.get("out.extxyz", ""))


def _kill(
    job: Job, place: Place, reference: Reference, history: History, rng: random.Random, token: str, log: Path
) -> None:
    """Start the job, send a signal at a random time or at a random change in its folders, and wait for the end."""
    number = rng.choice(SIGNALS)
    at_change = rng.random() < 0.6
    seconds = rng.uniform(0.02, 1.0) * reference.seconds
    n_changes = rng.randint(1, reference.n_changes)
    changes, started = Changes(place), time.monotonic()
    process = job.start(place, token, log)
    while process.poll() is None:
        if (changes.look() >= n_changes) if at_change else (time.monotonic() - started >= seconds):
            break
        time.sleep(POLL)
    came = time.monotonic() - started
    process.send_signal(number)
    try:
        code = process.wait(GRACE)
    except Exception:
        process.kill()
        code = process.wait()
        history.faults.append(f"{number.name} did not end the command within {GRACE:.0f} s")
    ended = time.monotonic() - started - came
    orphans = outlived(token)
    history.orphans += orphans
    early = code == 0  # it was finished before the signal
    if not early and code not in CODES[number]:
        history.faults.append(f"exit code {code} after {number.name}, expected {sorted(CODES[number])}")
    history.kills.append(
        {"signal": number.name, "came": round(came, 3), "at": f"change {n_changes}" if at_change else "time",
         "code": code, "ended": round(ended, 3)}
    )  # fmt: skip


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
