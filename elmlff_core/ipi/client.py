"""A client of i-PI: it connects to the socket of a simulation and answers with what a stack predicts.

i-PI 3.3 has such a loop in its script ``i-pi-py_driver``.  No program can import it, and it does not end when i-PI
dies: it then reads empty messages for ever, on a whole core.  This one ends with the reason.  It needs no i-PI where it
runs.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.errors import ElmlffError
from elmlff_core.ipi.evaluation import Answer, Evaluation

HEADER = 12  # bytes of a message
SOCKETS_PREFIX = "/tmp/ipi_"  # i-PI puts it before the address of a unix socket
RETRY = 0.2  # s between attempts to connect
ON_ITS_WAY = 0.1  # s


class _GoneError(Exception):
    """The connection has ended without a word."""


@dataclass(frozen=True)
class Address:
    """Where i-PI listens: a unix socket, or a port of a host.

    Attributes
    ----------
    path : path of the unix socket, or None
    host, port : used if there is no path
    """

    path: str | None = None
    host: str = "localhost"
    port: int = 0

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"

    def open(self, timeout: float) -> socket.socket:
        """Connect once, in `timeout` seconds; OSError if that fails."""
        if self.path is None:
            link = socket.create_connection((self.host, self.port), timeout)
            link.settimeout(None)  # i-PI may be silent for as long as it likes
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # the host of i-PI may lose its power
            return link
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.connect(self.path)
        except OSError:
            link.close()
            raise
        return link


def serve(evaluation: Evaluation, address: Address, wait: float, reporter: Reporter | None = None) -> int:
    """Answer i-PI until it ends the connection; return the number of structures answered.

    Parameters
    ----------
    evaluation : what answers
    address : where i-PI listens
    wait : s, how long to wait for an i-PI that does not listen yet
    reporter : where progress is reported

    Raises
    ------
    ElmlffError
        No i-PI listens, it ends without a word, it is something else than i-PI, or a structure cannot be evaluated.
    """
    reporter = reporter or Reporter()
    with connect(address, wait, reporter) as link, reporter.progress("serving i-PI") as progress:
        conversation = _Conversation(link, evaluation)
        try:
            for _ in conversation.run():
                progress(Progress(evaluation.n_answers, 0, f"{evaluation.n_answers} structures"))
        except _GoneError as error:
            raise ElmlffError(
                f"i-PI at {address} is gone after {evaluation.n_answers} structures, without saying that it ends: it "
                "was killed, or has crashed. Look at its output, start it again, and then this command"
            ) from error
        except BaseException:
            conversation.leave()
            raise
    return evaluation.n_answers


def connect(address: Address, wait: float, reporter: Reporter) -> socket.socket:
    """Connect to i-PI, which may begin to listen in `wait` seconds; ElmlffError if it does not."""
    deadline = time.monotonic() + wait
    for attempt in count():
        try:
            link = address.open(min(60.0, max(1.0, deadline - time.monotonic())))
        except (socket.gaierror, UnicodeError) as error:
            raise ElmlffError(f"no host is called '{address.host}'") from error
        except (FileNotFoundError, ConnectionRefusedError, TimeoutError) as error:
            if not time.monotonic() < deadline:  # whatever was given as a time
                raise ElmlffError(_nobody(address, wait)) from error
        except OSError as error:  # such as a path that is too long
            raise ElmlffError(f"cannot connect to {address}: {error.strerror or error}") from error
        else:
            reporter.say(f"connected to i-PI at {address}")
            return link
        if not attempt:
            reporter.say(f"waiting up to {wait:g} s for i-PI at {address}")
        time.sleep(min(RETRY, max(0.0, deadline - time.monotonic())))
    raise AssertionError("unreachable")


def _nobody(address: Address, wait: float) -> str:
    here = "<ffsocket mode='unix'> with this address" if address.path else "<ffsocket mode='inet'> with this port"
    return (
        f"no i-PI listens at {address} after {wait:g} s: start i-PI, with {here} in its input, or give a longer --wait"
    )


class _Conversation:
    """One connection, from the greeting to the end.

    i-PI asks for the status, initialises, sends one structure or a batch of a fixed size, and fetches the answers.
    """

    def __init__(self, link: socket.socket, evaluation: Evaluation) -> None:
        self.link, self.evaluation = link, evaluation
        self.received = bytearray()
        self.is_initialised, self.batch_size = False, 1
        self.answers: list[Answer] | None = None

    def run(self) -> Iterator[None]:
        """Answer until i-PI says that it ends; yield after each request for structures.  _GoneError if it is gone."""
        while (message := self._bytes(HEADER).decode("ascii", "replace").rstrip()) != "EXIT":
            match message:
                case "STATUS":
                    ready = "READY" if self.answers is None else "HAVEDATA"
                    self._send(_header(ready if self.is_initialised else "NEEDINIT"))
                case "INIT":
                    self._initialise()
                case "POSDATA":
                    structures = self._structures()
                    self._receive_next_header()
                    self.answers = self.evaluation(*structures)
                    yield
                case "GETFORCE" if self.answers is not None:
                    self._send(_payload(self.answers))
                    self.answers = None
                case _:
                    raise ElmlffError(
                        f"what listens there is no i-PI, or one that this client does not know: {message!a}"
                    )

    def _initialise(self) -> None:
        _, length = self._numbers(2, np.int32)  # the first is the index of the replica
        words = self._bytes(int(length)).decode("utf-8", "replace").split(",")
        pairs = (word.partition(":") for word in words)
        sizes = [value.strip() for key, _, value in pairs if key.strip() == "batch_size"]
        self.batch_size = int(sizes[0]) if sizes and sizes[0].isdigit() else 1
        self.is_initialised = True

    def _structures(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Receive cells (3, 3) and positions (n_atoms, 3) of a batch, in Bohr."""
        n = self.batch_size
        if n == 1:  # the number of atoms stands between
            cells = self._numbers(18, np.float64)
        n_atoms = int(self._numbers(1, np.int32)[0])
        self.evaluation.check_number(n_atoms)
        if n > 1:
            cells = self._numbers(18 * n, np.float64)
        positions = self._numbers(3 * n_atoms * n, np.float64)
        # With each cell comes its inverse.
        return list(cells.reshape(n, 2, 3, 3)[:, 0]), list(positions.reshape(n, n_atoms, 3))

    def _numbers(self, n: int, kind: type[np.generic]) -> np.ndarray:
        return np.frombuffer(self._bytes(n * np.dtype(kind).itemsize), dtype=kind)

    def _bytes(self, n: int) -> bytes:
        while len(self.received) < n:
            self._receive()
        found = bytes(self.received[:n])
        del self.received[:n]
        return found

    def _receive(self) -> None:
        """Take what i-PI has sent, and wait for it if there is nothing."""
        try:
            part = self.link.recv(1 << 20)
        except OSError as error:
            raise _GoneError from error
        if not part:
            raise _GoneError
        self.received += part

    def _receive_next_header(self) -> None:
        """Take the next message before the work on this one, if it comes: i-PI sends it at once.

        i-PI 3.3.1 hangs for ever if the socket of a client closes with bytes that nobody has read.  From a client that
        dies it expects the end of the stream, but in that case the system reports a reset.
        """
        while len(self.received) < HEADER and select.select([self.link], [], [], ON_ITS_WAY)[0]:
            self._receive()

    def leave(self) -> None:
        """Take all that i-PI has sent, so that it sees the end of the stream, and asks another client."""
        with contextlib.suppress(_GoneError):
            while select.select([self.link], [], [], ON_ITS_WAY)[0]:
                self._receive()

    def _send(self, data: bytes) -> None:
        try:
            self.link.sendall(data)
        except OSError as error:
            raise _GoneError from error


def _header(message: str) -> bytes:
    return message.ljust(HEADER).encode()


def _payload(answers: Sequence[Answer]) -> bytes:
    """Return one message with all answers: i-PI drops a client that takes a pause within it."""
    potentials = np.array([answer.potential for answer in answers])
    n_atoms = np.int32(len(answers[0].forces))
    arrays = [potentials, n_atoms, *(answer.forces for answer in answers), *(answer.virial for answer in answers)]
    parts = [_header("FORCEREADY"), *(np.ascontiguousarray(array).tobytes() for array in arrays)]
    for answer in answers:
        text = answer.extras.encode()
        parts += [np.int32(len(text)).tobytes(), text]
    return b"".join(parts)
