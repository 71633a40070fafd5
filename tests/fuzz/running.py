"""Commands run in a workplace, and how each ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE, TRUST_STORE = "cache", "trusted/trust.json"  # in the folder of the workplace
CPU_LIMIT = 60.0  # s; commands of the workplace take a few seconds
WAIT_LIMIT = 5.0  # times as long by the clock: other programs may take the cores


@dataclass(frozen=True)
class Ending:
    """How a command ended.

    Attributes
    ----------
    code : exit code; negative for a signal; None if it was still running at the time limit
    stdout, stderr : what it printed
    seconds : time that it took
    """

    code: int | None
    stdout: str
    stderr: str
    seconds: float

    @property
    def kind(self) -> str:
        """Return ``success``, ``clean error``, ``unexpected``, ``native crash`` or ``hang``."""
        if self.code is None:
            return "hang"
        if self.code == 0:
            return "success"
        if self.code < 0 or "Fatal Python error" in self.stderr:
            return "native crash"
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        said = self.code in (1, 2) and (any(line.startswith(("elmlff: ", "Usage: ")) for line in lines) or self.stdout)
        riddle = "elmlff: unexpected" in self.stderr or "Traceback" in self.stderr
        return "clean error" if said and not riddle else "unexpected"


class Commands:
    """Runs commands of elmlff in forks of one server process; a context that ends the server."""

    def __init__(self, folder: Path, logs: Path, more: bool = False) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.stdout, self.stderr = logs / "stdout", logs / "stderr"
        variables = {
            "ELMLFF_CACHE": str(folder / CACHE),
            "ELMLFF_TRUST_STORE": str(folder / TRUST_STORE),
            "PYTHONPATH": str(REPOSITORY),
            "MPLCONFIGDIR": str(logs / "matplotlib"),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "DP_INTRA_OP_PARALLELISM_THREADS": "1",
            "DP_INTER_OP_PARALLELISM_THREADS": "1",
        }
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.server", *(["more"] if more else [])],
            cwd=REPOSITORY, env=os.environ | variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._read()

    def __enter__(self) -> Commands:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait(timeout=60)

    def run(self, folder: Path, *arguments: str, limit: float = CPU_LIMIT) -> Ending:
        """Run ``elmlff ARGUMENTS`` in `folder`."""
        request = {
            "arguments": list(arguments), "folder": str(folder), "cpu": limit, "clock": WAIT_LIMIT * limit,
            "stdout": str(self.stdout), "stderr": str(self.stderr),
        }  # fmt: skip
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        answer = self._read()
        texts = (path.read_text(encoding="utf-8", errors="replace") for path in (self.stdout, self.stderr))
        return Ending(answer["code"], *texts, answer["seconds"])

    def _read(self) -> dict[str, Any]:
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        assert line, f"the server of commands has ended with code {self.server.poll()}"
        found: dict[str, Any] = json.loads(line)
        return found
