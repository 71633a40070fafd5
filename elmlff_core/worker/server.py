"""The program of a worker: it loads one base force field and answers batches of structures until its pipe is closed.

It is started by its path under any Python from 3.9 that has numpy, ase and its MLFF; elmlff need not be installed
there.  Only the standard library is imported before the first message arrives.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elmlff_core.worker.protocol import Message

OLDEST_PYTHON = (3, 9)
READ_BYTES = 1 << 20
OUT_OF_MEMORY = ("out of memory", "allocate memory", "resource_exhausted")


def main(arguments: list[str]) -> None:
    """Serve on the file descriptors given in `arguments`: requests, replies, lifeline."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(f"a worker of elmlff needs Python {'.'.join(map(str, OLDEST_PYTHON))} or newer, this is {sys.version}")
    requests, replies, lifeline = map(int, arguments)
    for descriptor in (requests, replies, lifeline):
        os.set_inheritable(descriptor, False)  # processes that the MLFF starts must not keep them open
    die_with(lifeline)
    faulthandler.enable()
    if hasattr(sys.stdout, "reconfigure"):  # so that no output before a crash is lost
        sys.stdout.reconfigure(line_buffering=True)
    sys.argv[1:] = []  # MLFF packages that read the command line must not read this one
    here = Path(__file__).resolve()
    # Python puts the folder of a script first on the path, where protocol.py could hide a module of an MLFF package.
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != here.parent]
    adopt("elmlff_core", str(here.parents[1] / "__init__.py"))
    serve(requests, replies)


def die_with(lifeline: int) -> None:
    """Let this process and its children be killed when the other end of the pipe `lifeline` is closed.

    That end is closed whenever elmlff ends, also by ``kill -9``.  On Linux the kernel kills the whole process group,
    even while native code holds the interpreter.  (Its parent-death signal is not used: it would also kill the worker
    when the thread that started it ends, and it would not kill the children of the worker.)  On other systems a thread
    waits for the end of the pipe.
    """
    try:
        import fcntl

        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            if not os.read(lifeline, 1):  # it was closed before the signal was set up
                os.killpg(0, signal.SIGKILL)
    except (ImportError, AttributeError, OSError):
        threading.Thread(target=_wait_for_end, args=(lifeline,), daemon=True).start()


def _wait_for_end(lifeline: int) -> None:
    os.set_blocking(lifeline, True)
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


def adopt(package: str, file: str) -> None:
    """Make `package` importable from `file`, without adding the other packages in its folder to the path."""
    if package in sys.modules:
        return
    folder = [os.path.dirname(file)] if os.path.basename(file) == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(package, file, submodule_search_locations=folder)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[package] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[package])


def serve(requests: int, replies: int) -> None:
    """Answer messages one by one until the pipe of requests is closed."""
    from elmlff_core.resources import keep_freed_memory
    from elmlff_core.worker.protocol import Message, encode

    keep_freed_memory()
    force_field: Any = None
    for message in _messages(requests):
        request = message.header.get("request")
        try:
            if message.kind == "describe":
                answer = _describe(message)
            elif message.kind == "open":
                force_field, answer = _open(message)
            else:
                answer = _predict(force_field, message)
            frame = encode(answer)
        except Exception as error:  # a backend may raise any exception; elmlff adds the names of model and adapter
            frame = encode(Message({**_failure(error), "kind": "error", "request": request}))
            gc.collect()  # tracebacks keep the arrays of a batch that was too large in memory
        _write(replies, frame)


def _messages(requests: int) -> Iterator[Message]:
    from elmlff_core.worker.protocol import FrameReader

    while True:
        reader = FrameReader()
        message = None
        while message is None:
            data = os.read(requests, READ_BYTES)
            if not data:
                return
            reader.feed(data)
            message = reader.message()
        yield message


def _write(replies: int, frame: bytes) -> None:
    rest = memoryview(frame)
    while rest:
        rest = rest[os.write(replies, rest) :]


def _describe(message: Message) -> Message:
    """Return the answer to a message ``describe``: the digest of this environment, without loading anything."""
    from elmlff_core.worker.protocol import Message

    _set_path(message.header)
    return Message({"kind": "described", "request": message.header["request"], "environment": environment_digest()})


def _set_path(header: Mapping[str, Any]) -> None:
    if header["sys_path"] is not None:
        sys.path[:] = header["sys_path"]


def _open(message: Message) -> tuple[Any, Message]:
    """Load the force field that a message ``open`` asks for; return it and the answer that describes it."""
    from elmlff_core.worker.protocol import Message

    header = message.header
    _set_path(header)
    missing = [name for name in ("numpy", "ase") if importlib.util.find_spec(name) is None]
    if missing:
        raise WorkerSetupError(f"install {' and '.join(missing)} there: {sys.executable} -m pip install numpy ase")
    force_field = _loader(header)()
    answer = {
        "kind": "ready",
        "request": header["request"],
        "name": force_field.name,
        "elements": None if force_field.elements is None else sorted(force_field.elements),
        "cutoff": force_field.cutoff,
        "fingerprint": force_field.fingerprint,
        # A worker under elmlff's own interpreter uses the same packages, and so the same cached predictions.
        "environment": "" if header["sys_path"] is not None else environment_digest(),
    }
    return force_field, Message(answer)


class WorkerSetupError(Exception):
    """The environment lacks packages that the worker needs; the message gives the remedy."""


def _loader(header: Any) -> Callable[[], Any]:
    """Return a function that loads the force field, from the adapter's standalone module or from installed plugins."""
    for package, file in header["packages"].items():
        adopt(package, file)
    request = {name: header[name] for name in ("name", "trust", "descriptors")}
    checkpoint = None if header["checkpoint"] is None else Path(header["checkpoint"])
    if header["standalone"]:
        module = importlib.import_module(header["standalone"])
        options = SimpleNamespace(**header["options"])
        return lambda: module.load(SimpleNamespace(checkpoint=checkpoint, options=options, **request))
    _require_elmlff(header["elmlff"], header["adapter"])
    from elmlff_core.contracts.hookspecs import LoadRequest
    from elmlff_core.plugins.registry import registry, require
    from elmlff_core.settings.reading import validated

    plugin = registry().force_field(header["adapter"])
    require(plugin)
    checked = validated(plugin.options, header["options"], f"the options of model '{header['name']}'")
    return lambda: plugin.load(LoadRequest(checkpoint=checkpoint, options=checked, **request))


def _require_elmlff(version: str, adapter: str) -> None:
    try:
        found = importlib.metadata.version("elmlff")
    except importlib.metadata.PackageNotFoundError:
        found = ""
    if found != version:
        there = f"has elmlff {found}" if found else "has no elmlff"
        raise WorkerSetupError(
            f"it {there}, but adapter '{adapter}' needs elmlff {version} with its plugin there: "
            f"{sys.executable} -m pip install elmlff=={version}; adapter 'ase' needs only numpy and ase"
        )


def _predict(force_field: Any, message: Message) -> Message:
    from elmlff_core.worker.structures import pack_prediction, unpack_structures

    prediction = force_field.predict(unpack_structures(message))
    return pack_prediction(prediction, message.header["request"])


@functools.cache
def environment_digest() -> str:
    """Return a hex digest of the Python version and of all installed packages."""
    all_metadata = [distribution.metadata for distribution in importlib.metadata.distributions()]  # read once each
    packages = {f"{metadata['Name']}=={metadata['Version']}".lower() for metadata in all_metadata}
    python = ".".join(map(str, sys.version_info[:3]))
    return hashlib.sha256("\n".join([sys.implementation.name, python, *sorted(packages)]).encode()).hexdigest()


def _failure(error: BaseException) -> dict[str, Any]:
    """Describe an error for elmlff; ``elmlff`` is true if the message already contains model and adapter."""
    from elmlff_core.errors import ElmlffError

    return {
        "memory": _is_out_of_memory(error),
        "elmlff": isinstance(error, ElmlffError),
        "setup": isinstance(error, WorkerSetupError),
        "type": type(error).__name__,
        "message": " ".join(str(error).split()),
        "traceback": "".join(traceback.format_exception(type(error), error, error.__traceback__)),
    }


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether `error` or one of its causes is a lack of memory; each backend has its own message for it."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    main(sys.argv[1:])
