"""Commands of elmlff, each in a fork of one process that has imported torch and the backends.

A command has its own process, folder, environment variables and output, as if it had been typed; it saves the imports,
which take longer than most commands of the tests.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
ONE_THREAD = dict.fromkeys(
    [
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "DP_INTRA_OP_PARALLELISM_THREADS", "DP_INTER_OP_PARALLELISM_THREADS"
    ],
    "1",
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What a command may take.

    Attributes
    ----------
    cpu : s of processor time of its first process
    clock : s
    memory : bytes beyond those of the server, or None
    """

    cpu: float = 300.0
    clock: float = 600.0
    memory: int | None = None


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
        said = self.code in (1, 2, 3) and (
            any(line.startswith(("elmlff: ", "Usage: ")) for line in lines) or self.stdout
        )
        riddle = "elmlff: unexpected" in self.stderr or "Traceback" in self.stderr
        return "clean error" if said and not riddle else "unexpected"


class Commands:
    """Runs commands of elmlff in forks of one server process, with `logs` for what they print; end it by `close`.

    `more` imports SchNetPack and DeePMD-kit too.
    """

    def __init__(self, logs: Path, more: bool = False) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.stdout, self.stderr = logs / "stdout", logs / "stderr"
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.commands.server", *(["more"] if more else [])],
            cwd=REPOSITORY, env=os.environ | ONE_THREAD | {"PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._read()

    def close(self) -> None:
        """End the server."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait(timeout=60)

    def run(self, folder: Path, *arguments: str, environment: Mapping[str, str], limits: Limits = Limits()) -> Ending:
        """Run ``elmlff ARGUMENTS`` in `folder`."""
        request = {
            "arguments": list(arguments), "folder": str(folder), "environment": dict(environment), "cpu": limits.cpu,
            "clock": limits.clock, "memory": limits.memory, "stdout": str(self.stdout), "stderr": str(self.stderr),
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


def run_elmlff(
    arguments: tuple[str, ...], folder: Path, code: int | None = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run ``elmlff ARGUMENTS`` in `folder`, with environment variables, and check its exit code unless it is None."""
    environment = os.environ | ONE_THREAD | variables
    if any(name.startswith("PYTHON") for name in variables):  # an interpreter reads these when it starts
        done = subprocess.run(
            [sys.executable, "-m", "elmlff_core", *arguments],
            cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
    else:
        ended = _commands().run(folder, *arguments, environment=environment)
        assert ended.code is not None, f"{arguments} took too long: {ended.stdout}{ended.stderr}"
        done = subprocess.CompletedProcess(arguments, ended.code, ended.stdout, ended.stderr)
    assert code in (None, done.returncode), done.stdout + done.stderr
    return done


@functools.cache
def _commands() -> Commands:
    """Return the server of this test process, which `close_commands` ends."""
    return Commands(Path(tempfile.mkdtemp(prefix="elmlff-commands-")), more=True)


def close_commands() -> None:
    """End the server of this process, if it has started."""
    if _commands.cache_info().currsize:
        _commands().close()
        shutil.rmtree(_commands().stdout.parent)
