"""WorkerForceField: a base model that runs in a worker process, under this interpreter or another.

The worker starts at once, because only it knows its packages.  It loads the force field when something is to be
predicted, or at once if nothing is remembered of it (see `identity`).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ase import Atoms

from elmlff_core.contracts.hookspecs import ForceFieldPlugin, LoadRequest
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.environments.folder import SELF
from elmlff_core.errors import PluginError
from elmlff_core.worker.errors import (
    RemoteTraceback,
    WorkerClosedError,
    WorkerDiedError,
    WorkerError,
    WorkerTimeoutError,
)
from elmlff_core.worker.identity import identity_file, is_settled, recall, remember
from elmlff_core.worker.process import GRACE_SECONDS, WorkerProcess, find_interpreter
from elmlff_core.worker.protocol import Message, ProtocolError, encode
from elmlff_core.worker.structures import pack_structures, unpack_prediction

LOST = (WorkerDiedError, WorkerTimeoutError, WorkerClosedError, ProtocolError)


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of a worker.

    Attributes
    ----------
    python : its interpreter, a path or a name on the PATH; "self" is the current interpreter
    timeout : time limit in s for loading and for each batch
    threads : number of threads of its numerical libraries; None takes that of this process
    """

    python: str
    timeout: float = 600.0
    threads: int | None = None


class WorkerForceField:
    """A base model in a worker process, which is started here and restarted if it ends unexpectedly.

    If its identity is remembered from an earlier time, it is loaded before its first prediction, otherwise here.

    Predictions are identical, bit by bit, to those in the current process if both use the same number of threads.  One
    batch is processed at a time; calls from other threads wait.

    Parameters
    ----------
    request : the request that the adapter itself would get
    plugin : the adapter
    settings : the settings of the worker

    Raises
    ------
    WorkerError
        The interpreter cannot be started, lacks packages that the adapter needs, or cannot load the force field.
    """

    def __init__(self, request: LoadRequest, plugin: ForceFieldPlugin, settings: WorkerSettings) -> None:
        self.name = request.name
        self._settings = settings
        self._opening = _opening(request, plugin, settings)
        self._label = f"model '{self.name}' (adapter '{plugin.name}', worker {settings.python})"
        self._lock = threading.RLock()
        self._process: WorkerProcess | None = None
        self._finalizer: Callable[[], Any] | None = None
        self._n_requests = 0
        # Most structures in one request; it is reduced when a batch is too large for the worker's memory.
        self._batch_limit = sys.maxsize
        self._is_open = False
        self._identity_file: Path | None = None
        self._start()
        identity: Mapping[str, Any] | None = None
        if is_settled(request, plugin):
            described = self._ask({**self._opening, "kind": "describe"}, "described")
            self._identity_file = identity_file(request, plugin, self._opening, described["environment"])
            identity = recall(self._identity_file)
        known = self._open() if identity is None else identity
        self.elements: frozenset[str] | None = None if known["elements"] is None else frozenset(known["elements"])
        self.cutoff: float | None = known["cutoff"]
        self.fingerprint = _fingerprint(known)

    def load(self) -> None:
        """Load the force field now instead of before its first prediction; WorkerError if that fails."""
        with self._lock:
            if not self._is_open or self._process is None or not self._process.is_usable:
                self._restart()

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Predict energies, forces and stresses; a batch too large for the worker's memory is divided.

        Raises
        ------
        WorkerError
            The worker ended unexpectedly twice for one batch, did not answer in time, ran out of memory for a single
            structure, or sent an invalid answer; or the base model failed.  The message gives the indices of the
            structures in `structures`.
        """
        predictions: list[Prediction] = []
        start = 0
        with self._lock:
            while start < len(structures) or not predictions:
                batch = structures[start : start + self._batch_limit]
                prediction = self._predict_batch(batch, range(start, start + len(batch)))
                if prediction is None:
                    self._batch_limit = len(batch) // 2
                    continue
                predictions.append(prediction)
                start += len(batch)
        return predictions[0] if len(predictions) == 1 else Prediction.concatenate(predictions)

    def close(self) -> None:
        """End the worker, immediately if another thread is using it; the next prediction starts a new worker."""
        process = self._process
        if process is None:
            return
        idle = self._lock.acquire(blocking=False)
        if not idle:
            process.kill()
            self._lock.acquire()
        try:
            if self._process is process:
                self._stop(GRACE_SECONDS if idle else 0.0)
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _predict_batch(self, batch: Sequence[Atoms], indices: range) -> Prediction | None:
        """Return the prediction, or None if the worker's memory is too small for so many structures at a time."""
        try:
            answer = self._answer(lambda number: pack_structures(batch, number))
            if answer.kind == "result":
                return unpack_prediction(answer)
            if answer.kind != "error":
                raise ProtocolError(f"a message of kind '{answer.kind}'")
        except LOST as error:
            raise self._lost(error, indices) from error
        if answer.header.get("memory") and len(batch) > 1:
            return None
        raise self._failure(answer, indices)

    def _answer(self, make: Callable[[int], Message]) -> Message:
        """Return the answer to a message; if the worker has ended or ends during the request, restart it once."""
        if self._process is not None and self._process.is_usable:
            if not self._is_open:
                self._open_again()
            try:
                return self._exchange(make)
            except WorkerDiedError:
                pass
        self._restart()
        return self._exchange(make)

    def _exchange(self, make: Callable[[int], Message]) -> Message:
        """Send the message that `make` returns for a request number, and wait for its answer.

        The worker is killed if there is no valid answer, and also if the user interrupts the request.
        """
        assert self._process is not None
        self._n_requests += 1
        try:
            frame = encode(make(self._n_requests))
        except ProtocolError as error:
            raise WorkerError(f"{self._label}: {error}") from error
        try:
            answer = self._process.exchange(frame, self._settings.timeout)
            if answer.header.get("request") != self._n_requests:
                raise ProtocolError(f"an answer to request {answer.header.get('request')}")
        except BaseException:
            self._process.kill()
            raise
        return answer

    def _start(self) -> None:
        """Start the worker; it has loaded nothing yet."""
        executable = find_interpreter(self._settings.python)
        if executable is None:
            raise WorkerError(f"{self._label}: there is no Python interpreter {self._settings.python}")
        self._stop()
        try:
            process = WorkerProcess(executable, self._settings.python == SELF, self._settings.threads)
        except OSError as error:
            raise WorkerError(f"{self._label} cannot be started: {error}") from error
        self._process = process
        # Ends the worker when this object is deleted or Python exits; the lifeline covers all other cases.
        self._finalizer = weakref.finalize(self, process.stop, GRACE_SECONDS).detach

    def _open(self) -> Mapping[str, Any]:
        """Let the worker load the force field, remember what it is, and return the header of its answer."""
        ready = self._ask(self._opening, "ready")
        self._is_open = True
        if self._identity_file is not None:
            remember(self._identity_file, ready)
        return ready

    def _ask(self, header: Mapping[str, Any], expected: str) -> Mapping[str, Any]:
        """Return the header of the answer to a message before the first prediction."""
        try:
            answer = self._exchange(lambda number: Message({**header, "request": number}))
            if answer.kind not in (expected, "error"):
                raise ProtocolError(f"a message of kind '{answer.kind}'")
        except LOST as error:
            raise self._lost(error) from error
        if answer.kind == "error":
            self._stop(GRACE_SECONDS)
            raise self._failure(answer)
        return answer.header

    def _restart(self) -> None:
        self._start()
        self._open_again()

    def _open_again(self) -> None:
        """Load a force field of which something is known already; WorkerError if it is another one."""
        if (found := _fingerprint(self._open())) != self.fingerprint:
            self._stop()
            raise WorkerError(
                f"{self._label} is another force field than before (fingerprint {found[:12]}, expected "
                f"{self.fingerprint[:12]}): its checkpoint or its environment has changed; run again"
            )

    def _stop(self, grace: float = 0.0) -> None:
        self._is_open = False
        if self._process is not None:
            if self._finalizer is not None:
                self._finalizer()
            self._process.stop(grace)
            self._process = None

    def _lost(self, error: Exception, indices: range | None = None) -> WorkerError:
        """End a worker without a valid answer, and return the error with its last output."""
        tail = self._process.tail() if self._process is not None else ""
        self._stop()
        seconds = f"{self._settings.timeout:g} s"
        if isinstance(error, WorkerDiedError):
            what = f"{error} while it loaded" if indices is None else f"{error}, after it had been restarted once"
        elif isinstance(error, WorkerTimeoutError):
            what = (
                f"{'did not load' if indices is None else 'gave no answer'} within {seconds} and was killed "
                f"(raise 'timeout' under [models.{self.name}] if it needs longer)"
            )
        elif isinstance(error, WorkerClosedError):
            what = "was closed during a request"
        else:
            what = f"sent an invalid answer and was killed: {error}"
        details = f"; its last output was:\n{tail}" if tail else "; it printed nothing"
        return WorkerError(f"{self._label} {what}", indices, details)

    def _failure(self, answer: Message, indices: range | None = None) -> WorkerError:
        """Return the error that the worker reported, with its traceback as cause."""
        header = answer.header
        reason = f"{header.get('type')}: {header.get('message')}"
        if header.get("memory"):
            what = f"{self._label} ran out of memory: {reason}"
        elif header.get("setup"):
            what = f"{self._label} cannot be used: {header.get('message')}"
        elif header.get("elmlff"):  # the message already contains model and adapter
            what = f"{header.get('message')}; in the worker {self._settings.python}"
        else:
            what = f"{self._label} failed: {reason}"
        error = WorkerError(what, indices)
        error.__cause__ = RemoteTraceback(header.get("traceback", ""))
        return error


def _opening(request: LoadRequest, plugin: ForceFieldPlugin, settings: WorkerSettings) -> dict[str, Any]:
    """Return the header of the message ``open``."""
    is_self = settings.python == SELF
    standalone = "" if is_self else plugin.standalone
    return {
        "kind": "open",
        "elmlff": importlib.metadata.version("elmlff"),
        "name": request.name,
        "adapter": plugin.name,
        "checkpoint": None if request.checkpoint is None else str(request.checkpoint.absolute()),
        "trust": request.trust,
        "descriptors": request.descriptors,
        "options": request.options.model_dump(mode="json"),
        # With the same path, the worker under the same interpreter finds the same modules.
        "sys_path": [str(entry) for entry in sys.path] if is_self else None,
        "standalone": standalone,
        "packages": _package_file(standalone) if standalone else {},
    }


def _package_file(module: str) -> dict[str, str]:
    """Find the file of the top-level package, or module, that contains `module`, without importing it."""
    top = module.partition(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        raise PluginError(f"'{top}', which an adapter names as standalone, is not a package with an __init__.py")
    return {top: spec.origin}


def _fingerprint(ready: Mapping[str, Any]) -> str:
    """Return the fingerprint of the base model, combined with that of its environment if it is not elmlff's own."""
    if not ready["environment"]:
        return str(ready["fingerprint"])
    return hashlib.sha256(f"{ready['fingerprint']}\n{ready['environment']}".encode()).hexdigest()
