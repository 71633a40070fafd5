"""One worker process: started with its own pipes, asked with a time limit, and always ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from elmlff_core.environments.folder import SELF
from elmlff_core.resources import FOREIGN_TO_OTHERS, THREAD_VARIABLES
from elmlff_core.worker import server
from elmlff_core.worker.errors import WorkerClosedError, WorkerDiedError, WorkerTimeoutError
from elmlff_core.worker.protocol import FrameReader, Message, ProtocolError

READ_BYTES = 1 << 20
POLL_SECONDS = 1.0
GRACE_SECONDS = 2.0
TAIL_LINES = 25  # a trace of faulthandler and the output before it
TAIL_BYTES = 8192
# The log is shortened at this size, so that a worker that prints for every structure does not fill the disk.  Only the
# end of the log is ever shown.
MAX_LOG_BYTES = 1 << 20
MARK_VARIABLE = "ELMLFF_WORKER"  # in the environment of a worker and of all its children


def find_interpreter(python: str) -> str | None:
    """Return the executable for the setting `python`, a path, a name or "self"; None if there is none."""
    return (sys.executable or None) if python == SELF else shutil.which(python)


class WorkerProcess:
    """A running worker.

    It has three pipes of its own: for requests, for replies, and a lifeline; when the lifeline is closed, the worker is
    killed.  Its standard output and error go to an unnamed temporary file: output of an MLFF does not disturb the
    messages, and error messages can show its end.

    Parameters
    ----------
    executable : the interpreter, from `find_interpreter`
    is_self : whether it is the interpreter of elmlff itself
    threads : number of threads of its numerical libraries; None takes that of this process

    Raises
    ------
    OSError
        The interpreter cannot be started.
    """

    def __init__(self, executable: str, is_self: bool, threads: int | None) -> None:
        self._log = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115 (lives as long as the worker)
        # The worker appends to the file, because this process may empty it while the worker is writing.
        flags = fcntl.fcntl(self._log, fcntl.F_GETFL)
        fcntl.fcntl(self._log, fcntl.F_SETFL, flags | os.O_APPEND)
        theirs_requests, self._requests = os.pipe()
        self._replies, theirs_replies = os.pipe()
        theirs_lifeline, self._lifeline = os.pipe()
        theirs = (theirs_requests, theirs_replies, theirs_lifeline)
        self._closed = self._killed = False
        self._mark = secrets.token_hex(8)
        try:
            self._process = subprocess.Popen(
                [executable, str(Path(server.__file__).resolve()), *map(str, theirs)],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                pass_fds=theirs,
                env=_environment(is_self, threads) | {MARK_VARIABLE: self._mark},
                # In a session of its own it gets no Ctrl-C, after which elmlff closes its workers itself, and it can be
                # killed together with its children.
                start_new_session=True,
            )
        except BaseException:
            self._close_descriptors()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        os.set_blocking(self._requests, False)
        os.set_blocking(self._replies, False)
        self._owner = os.getpid()
        _LIVING.add(self)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Whether it runs, as far as is known, and was started by this process, not by the parent of a fork."""
        return not self._closed and self._owner == os.getpid() and self._process.poll() is None

    def exchange(self, frame: bytes, timeout: float) -> Message:
        """Send a frame and wait at most `timeout` seconds for the answer.

        Writing and reading alternate as the pipes allow, so that the two processes cannot block each other.

        Raises
        ------
        WorkerDiedError, WorkerClosedError, WorkerTimeoutError, ProtocolError
            There is no valid answer.  After any of these errors the worker must be stopped, because its next message
            could belong to this request.
        """
        deadline = time.monotonic() + timeout
        rest, reader = memoryview(frame), FrameReader()
        poll = select.poll()
        poll.register(self._replies, select.POLLIN)
        poll.register(self._requests, select.POLLOUT)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise WorkerTimeoutError
            events = dict(poll.poll(1000 * min(left, POLL_SECONDS)))
            self._trim_log()
            if self._replies in events:
                data = os.read(self._replies, READ_BYTES)
                if not data:
                    raise self._ended()
                reader.feed(data)
                if (message := reader.message()) is not None:
                    if rest:
                        raise ProtocolError("the worker answered before the request was complete")
                    return message
            elif self._requests in events:
                rest = self._send(rest)
                if not rest:
                    poll.unregister(self._requests)
            elif self._process.poll() is not None:  # its children may keep the pipe open
                raise self._ended()

    def stop(self, grace: float = 0.0) -> None:
        """End the worker and its children; it is killed unless it exits by itself within `grace` seconds."""
        self._closed = True
        if self._owner != os.getpid():
            return
        _LIVING.discard(self)
        if grace > 0 and self._requests >= 0:
            os.close(self._requests)
            self._requests = -1
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        self.kill()
        self._close_descriptors()

    def kill(self) -> None:
        """Kill the worker and its children; a request in another thread then ends with WorkerClosedError."""
        self._closed = True
        if not self._killed:  # only once, because another process may get the same id later
            self._killed = True
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it and its children have ended already
                os.killpg(self._process.pid, signal.SIGKILL)
            self._kill_daemons()
        self._process.wait()

    def tail(self) -> str:
        """Return the last lines of its output."""
        return "\n".join(self._log_end().decode(errors="replace").splitlines()[-TAIL_LINES:])

    def forget(self) -> None:
        """Close the parent's pipes in a forked child: open pipes would keep the worker alive after the parent ends."""
        self._closed = True
        self._close_descriptors()

    def _kill_daemons(self) -> None:
        """Kill children of the worker that left its process group; on Linux they are known by their environment."""
        mark = f"{MARK_VARIABLE}={self._mark}".encode()
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # it has ended, or belongs to another user
                if mark in environment.read_bytes().split(b"\0"):
                    os.kill(int(environment.parent.name), signal.SIGKILL)

    def _send(self, rest: memoryview) -> memoryview:
        try:
            return rest[os.write(self._requests, rest) :]
        except BlockingIOError:
            return rest
        except BrokenPipeError:
            raise self._ended() from None

    def _ended(self) -> Exception:
        """Return the error that describes how the worker ended; kill it if it closed its pipes but still runs."""
        if self._closed:
            return WorkerClosedError()
        try:
            code = self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return WorkerDiedError("closed its pipes and was killed")
        return WorkerDiedError(_how_it_ended(code))

    def _trim_log(self) -> None:
        if os.fstat(self._log.fileno()).st_size > MAX_LOG_BYTES:
            end = self._log_end()
            os.ftruncate(self._log.fileno(), 0)
            os.write(self._log.fileno(), end)

    def _log_end(self) -> bytes:
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES))

    def _close_descriptors(self) -> None:
        for name in ("_requests", "_replies", "_lifeline"):
            if (descriptor := getattr(self, name)) >= 0:
                setattr(self, name, -1)
                os.close(descriptor)
        self._log.close()


def _environment(is_self: bool, threads: int | None) -> dict[str, str]:
    environment = dict(os.environ)
    if not is_self:
        for name in FOREIGN_TO_OTHERS:
            environment.pop(name, None)
    if threads is not None:
        environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    return environment


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = "; the system may have run out of memory" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"


_LIVING: weakref.WeakSet[WorkerProcess] = weakref.WeakSet()


def _forget_all() -> None:
    for process in list(_LIVING):
        process.forget()


_register_at_fork: Callable[..., None] | None = getattr(os, "register_at_fork", None)
if _register_at_fork is not None:
    _register_at_fork(after_in_child=_forget_all)
