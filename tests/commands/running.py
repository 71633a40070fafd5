"""Commands of elmlff, each in a fork of one process that has imported torch and the backends.

A command has its own process, folder, environment variables and output, as if it had been typed; it saves the imports,
which take longer than most commands of the tests.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
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


class Running:
    """A command that runs beside the test.

    Attributes
    ----------
    pid : its process, whose process group has the same number
    """

    def __init__(self, commands: Commands, pid: int, stdout: int, stderr: Path) -> None:
        self.commands, self.pid, self._stdout, self._stderr = commands, pid, stdout, stderr
        self._ended = False

    @property
    def runs(self) -> bool:
        """Whether the command itself has not ended yet."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"

    def send_signal(self, number: int) -> None:
        """Send a signal to the process of the command alone."""
        os.kill(self.pid, number)

    def end(self) -> None:
        """Kill it, unless its `ending` was asked for."""
        if not self._ended:
            os.killpg(self.pid, signal.SIGKILL)
            self.ending(60)

    def ending(self, seconds: float) -> Ending:
        """Wait at most `seconds` until the command has ended, and all processes that have its output."""
        self._ended, started, printed = True, time.monotonic(), b""
        try:
            while True:
                left = started + seconds - time.monotonic()
                assert left > 0, f"still running after {seconds} s: {printed.decode(errors='replace')}"
                # The pipe is at its end, too, before the command has opened it.
                if select.select([self._stdout], [], [], min(left, 1.0))[0]:
                    if part := os.read(self._stdout, 1 << 16):
                        printed += part
                    elif not self.runs:
                        break
                    else:
                        time.sleep(0.02)
        finally:
            os.close(self._stdout)
            code = self.commands.wait(self.pid)
        stderr = self._stderr.read_text(encoding="utf-8", errors="replace")
        return Ending(code, printed.decode(errors="replace"), stderr, time.monotonic() - started)


class Commands:
    """Runs commands of elmlff in forks of one server process, with `logs` for what they print; end it by `close`.

    `more` imports SchNetPack and DeePMD-kit too.
    """

    def __init__(self, logs: Path, more: bool = False) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.logs, self.numbers = logs, itertools.count()
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

    def run(
        self,
        folder: Path,
        *arguments: str,
        environment: Mapping[str, str],
        limits: Limits = Limits(),
        script: bool = False,
    ) -> Ending:
        """Run ``elmlff ARGUMENTS`` in `folder`, or with `script` ``python ARGUMENTS``."""
        stdout, stderr = self.logs / "stdout", self.logs / "stderr"
        answer = self._ask(
            **_command(folder, arguments, environment, stdout, stderr), script=script, memory=limits.memory,
            cpu=limits.cpu, clock=limits.clock,
        )  # fmt: skip
        texts = (path.read_text(encoding="utf-8", errors="replace") for path in (stdout, stderr))
        return Ending(answer["code"], *texts, answer["seconds"])

    def start(self, folder: Path, *arguments: str, environment: Mapping[str, str]) -> Running:
        """Start ``elmlff ARGUMENTS`` in `folder`, and let it run until its `ending` is asked for."""
        number = next(self.numbers)
        stdout, stderr = self.logs / f"stdout-{number}", self.logs / f"stderr-{number}"
        os.mkfifo(stdout)  # its end says that the workers of the command have ended too
        reader = os.open(stdout, os.O_RDONLY | os.O_NONBLOCK)
        request = _command(folder, arguments, environment, stdout, stderr)
        answer = self._ask(**request, script=False, memory=None, start=True)
        return Running(self, answer["process"], reader, stderr)

    def wait(self, pid: int) -> int | None:
        """End what is left of a command that was started, and return its exit code."""
        code: int | None = self._ask(wait=pid, cpu=0.0, clock=1.0)["code"]
        return code

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        assert line, f"the server of commands has ended with code {self.server.poll()}"
        found: dict[str, Any] = json.loads(line)
        return found


def _command(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str], stdout: Path, stderr: Path
) -> dict[str, Any]:
    return {
        "arguments": list(arguments), "folder": str(folder), "environment": dict(environment), "stdout": str(stdout),
        "stderr": str(stderr),
    }  # fmt: skip


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
        ended = session_commands().run(folder, *arguments, environment=environment)
        assert ended.code is not None, f"{arguments} took too long: {ended.stdout}{ended.stderr}"
        done = subprocess.CompletedProcess(arguments, ended.code, ended.stdout, ended.stderr)
    assert code in (None, done.returncode), done.stdout + done.stderr
    return done


def start_elmlff(arguments: Sequence[str], folder: Path, **variables: str) -> Running:
    """Start ``elmlff ARGUMENTS`` in `folder`, with environment variables, and do not wait for it."""
    return session_commands().start(folder, *arguments, environment=os.environ | ONE_THREAD | variables)


def run_script(script: str, folder: Path, **variables: str) -> Ending:
    """Run ``python SCRIPT`` in `folder`, with environment variables."""
    return session_commands().run(folder, script, environment=os.environ | ONE_THREAD | variables, script=True)


@functools.cache
def session_commands() -> Commands:
    """Return the server of this test process, which `close_commands` ends."""
    return Commands(Path(tempfile.mkdtemp(prefix="elmlff-commands-")), more=True)


def close_commands() -> None:
    """End the server of this process, if it has started."""
    if session_commands.cache_info().currsize:
        session_commands().close()
        shutil.rmtree(session_commands().logs)
