"""Jobs on a disk that is too small: each must end with one clear line, and with the same numbers once there is space.

    python benchmarks/crash/full_disk.py REFERENCES

The disk is a tmpfs in a mount namespace of this process's own (`unshare -rm`).  Where none can be mounted, a limit on
the size of files (RLIMIT_FSIZE) takes its place.  Prints one line of JSON for each case.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobs import JOBS, Job, Place, differences, numbers

# Fractions of the space that the uninterrupted run needs: the disk fills in the cache, in a checkpoint, in the stack,
# in the pages.
FRACTIONS = {
    "stack": (0.0, 0.02, 0.06, 0.15, 0.35, 0.6, 0.8, 0.95),
    "sweep": (0.02, 0.15, 0.5, 0.9),
    "predict": (0.0, 0.1, 0.4, 0.9),
}
PARTS = {"stack": ("everything", "cache", "results", "models"), "sweep": ("everything",), "predict": ("everything",)}
ONLY = (0.3, 0.8)  # fractions where only a part of the folders is on the small disk
GIVEN = ("structures.extxyz", "labelled.extxyz", "elmlff.toml")
UNSHARED = "ELMLFF_CRASH_UNSHARED"


@dataclass
class Case:
    """One run on a small disk.

    Attributes
    ----------
    job, part, size : the job, what of it lies on the small disk, and the size of the disk in kB
    kind : ``tmpfs`` or ``limit of file size``
    code, message : exit code and last line of the run on the small disk
    resumed, different : whether the same command then ended with success, and files with other numbers
    faults : what went wrong
    """

    job: str
    part: str
    size: int
    kind: str
    code: int = 0
    message: str = ""
    resumed: bool = False
    different: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether the run ended with a clear error and then with the same numbers."""
        return self.resumed and not self.different and not self.faults


def main(references: Path) -> None:
    """Run all cases and print each."""
    if UNSHARED not in os.environ:
        command = ["unshare", "-rm", sys.executable, *sys.argv]
        works = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
        if shutil.which("unshare") and subprocess.run(works, check=False, capture_output=True).returncode == 0:
            os.environ[UNSHARED] = "1"
            os.execvp(command[0], command)
        print("# no tmpfs can be mounted here: a limit on the size of files takes its place", flush=True)
    expected = pickle.loads((references / "references.pickle").read_bytes())
    for case in cases(references):
        run_case(case, JOBS[case.job], references, expected[case.job].numbers)
        print(json.dumps(asdict(case)), flush=True)


def cases(references: Path) -> Iterator[Case]:
    """Yield all cases, with sizes by what the uninterrupted run has written."""
    kind = "tmpfs" if UNSHARED in os.environ else "limit of file size"
    for job, parts in PARTS.items():
        for part in parts:
            if kind == "tmpfs":
                whole = part == "everything"
                given = sum(used(references / job / "work" / name) for name in GIVEN) if whole else 0
                if whole and JOBS[job].needs:
                    given += used(references / "stack" / "work" / "stacked")
                need = sum(map(used, folders_of(part, references / job)))
                for fraction in FRACTIONS[job] if whole else ONLY:
                    yield Case(job, part, int(given + fraction * (need - given)) // 1024 + 8, kind)
            elif part == "everything":
                for size in (1, 8, 40, 100, 400):
                    yield Case(job, part, size, kind)


def folders_of(part: str, root: Path) -> list[Path]:
    """Return what lies on the small disk in the uninterrupted run."""
    return {
        "everything": [root],
        "cache": [root / "cache"],
        "results": [root / "work" / "stacked"],
        "models": [root / "work" / "elmlff-models"],
    }[part]


def used(folder: Path) -> int:
    """Return the bytes that a file, or the files below a folder, take, in whole pages."""
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else [folder]
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in files)


def run_case(case: Case, job: Job, references: Path, expected: dict[str, Any]) -> None:
    """Run the job on a small disk, give the disk space, run it again, and compare."""
    root = Path(tempfile.mkdtemp(prefix="elmlff-crash-disk-"))
    base, log = root / "all", root / "log"
    place = Place(base / "work", base / "cache", base / "tmp")
    (disk,) = folders_of(case.part, base)
    job.set_up(place, references)
    limited: Callable[[], None] | None = None
    if case.kind == "tmpfs":
        given = root / "given"
        disk.mkdir(exist_ok=True)
        disk.rename(given)
        disk.mkdir()
        mount(disk, f"size={case.size}k")
        shutil.copytree(given, disk, dirs_exist_ok=True)
    else:
        limited = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (case.size * 1024,) * 2)  # noqa: E731
    try:
        case.code = job.start(place, "disk", log, limited).wait()
        lines = log.read_text(errors="replace").splitlines()
        case.message = lines[-1] if lines else ""
        if case.code not in (0, 1):
            case.faults.append(f"exit code {case.code}, expected 1")
        if any("Traceback (most recent call last)" in line for line in lines):
            case.faults.append("a traceback")
        if case.code == 1 and "unexpected" in case.message:
            case.faults.append("an unexpected error, expected one that says that there is no space")
        if case.kind == "tmpfs":
            mount(disk, "remount,size=1g")
        log.write_bytes(b"")
        code, _ = job.finish(place, "disk", log)
        case.resumed = code == 0
        if code:
            last = log.read_text(errors="replace").splitlines()[-1:]
            case.faults.append(f"with space, the same command ends with code {code}: {last}")
        else:
            case.different = differences(numbers(place), expected)
    finally:
        if case.kind == "tmpfs":
            subprocess.run(["umount", "-l", str(disk)], check=False)
        shutil.rmtree(root, ignore_errors=True)


def mount(folder: Path, options: str) -> None:
    """Mount a tmpfs at `folder`, or change the one that is there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
