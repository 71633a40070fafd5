"""One worker process: started with pipes of its own, talked to against a deadline, and never left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
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

from elmlff_core.worker import server
from elmlff_core.worker.errors import WorkerClosedError, WorkerDiedError, WorkerTimeoutError
from elmlff_core.worker.protocol import FrameReader, Message, ProtocolError

SELF = "self"
READ_BYTES = 1 << 20
POLL_SECONDS = 1.0
GRACE_SECONDS = 2.0
TAIL_LINES = 25  # a trace of faulthandler, and what was said before it
TAIL_BYTES = 8192
# A worker that prints with every structure must not fill the disk in a long run: only the end is ever shown.
MAX_LOG_BYTES = 1 << 20
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Set by a parent for itself, they would lead another interpreter to the wrong standard library.
FOREIGN_TO_OTHERS = ("PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")


def find_interpreter(python: str) -> str | None:
    """The executable that the setting `python` means: a path, a name to be looked up, or "self"; None where none is."""
    return (sys.executable or None) if python == SELF else shutil.which(python)


class WorkerProcess:
    """A running worker.

    It has three pipes of its own: requests, replies, and a lifeline whose closing means its death.  Its standard output
    and error go to an unnamed temporary file, so that whatever an MLFF prints does no harm and is there when it fails.

    Parameters
    ----------
    executable : the interpreter, as `find_interpreter` gives it
    is_self : whether it is elmlff's own
    threads : of its numerical libraries; None leaves them as they are here

    Raises
    ------
    OSError
        The interpreter cannot be started.
    """

    def __init__(self, executable: str, is_self: bool, threads: int | None) -> None:
        self._log = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115 (lives as long as the worker)
        # Appending, because the file may be emptied while the worker goes on writing.
        flags = fcntl.fcntl(self._log, fcntl.F_GETFL)
        fcntl.fcntl(self._log, fcntl.F_SETFL, flags | os.O_APPEND)
        theirs_requests, self._requests = os.pipe()
        self._replies, theirs_replies = os.pipe()
        theirs_lifeline, self._lifeline = os.pipe()
        theirs = (theirs_requests, theirs_replies, theirs_lifeline)
        self._closed = self._killed = False
        try:
            self._process = subprocess.Popen(
                [executable, str(Path(server.__file__).resolve()), *map(str, theirs)],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                pass_fds=theirs,
                env=_environment(is_self, threads),
                start_new_session=True,  # Ctrl-C is for elmlff, which closes its workers; and one kill reaches them all
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
        """Its process id."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Whether it runs, as far as is known, and belongs to this process and not to the one this was forked from."""
        return not self._closed and self._owner == os.getpid() and self._process.poll() is None

    def exchange(self, frame: bytes, timeout: float) -> Message:
        """Send a frame and wait for the answer.

        Writes and reads as the pipes allow, so that neither side can wait for the other for ever.

        Raises
        ------
        WorkerDiedError, WorkerClosedError, WorkerTimeoutError, ProtocolError
            After any of these the worker must be stopped: what it would say next is not known.
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
            if self._replies in events:
                data = os.read(self._replies, READ_BYTES)
                if not data:
                    raise self._ended()
                reader.feed(data)
                if (message := reader.message()) is not None:
                    if rest:
                        raise ProtocolError("the worker answered before it was asked")
                    self._trim_log()
                    return message
            elif self._requests in events:
                rest = self._send(rest)
                if not rest:
                    poll.unregister(self._requests)
            elif self._process.poll() is not None:  # its children may hold the pipe open
                raise self._ended()

    def stop(self, grace: float = 0.0) -> None:
        """End it and whatever it started; by its own way out within `grace` seconds, where it is idle, else at once."""
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
        """Kill it; a conversation under way in another thread then ends with WorkerClosedError."""
        self._closed = True
        if not self._killed:  # once: the process id may belong to another later
            self._killed = True
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it and all of its children are gone
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def tail(self) -> str:
        """The last lines it printed."""
        return "\n".join(self._log_end().decode(errors="replace").splitlines()[-TAIL_LINES:])

    def forget(self) -> None:
        """In a forked child: let go of the parent's pipes, which would keep the worker alive longer than the parent."""
        self._closed = True
        self._close_descriptors()

    def _send(self, rest: memoryview) -> memoryview:
        try:
            return rest[os.write(self._requests, rest) :]
        except BlockingIOError:
            return rest
        except BrokenPipeError:
            raise self._ended() from None

    def _ended(self) -> Exception:
        """How it ended; killed where it closed its pipes but lives on."""
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
