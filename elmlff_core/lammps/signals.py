"""Ctrl-C and SIGTERM while LAMMPS executes a command.

Python runs the handler of a signal between any two of its instructions, also in the code of ctypes around a callback,
where the exception of the handler is printed and lost.  Here the handlers wait until an exception can be passed on.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Signals that wait while they are `held`, except within a block `at_once`."""

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._waiting: list[int] = []
        self._are_handled_at_once = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let signals wait; the handlers of those that still wait run at the end."""
        if self._handlers or threading.current_thread() is not threading.main_thread():
            yield  # held already, or in a thread that no signal interrupts
            return
        self._waiting = []
        self._handlers = {number: signal.getsignal(number) for number in NUMBERS if callable(signal.getsignal(number))}
        for number in self._handlers:
            signal.signal(number, self._receive)
        try:
            yield
        finally:
            handlers, self._handlers = self._handlers, {}
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for number in self._waiting:
                handlers[number](number, None)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Run the handlers of signals that wait or come; what they raise leaves the block."""
        self._are_handled_at_once = True
        waiting, self._waiting = self._waiting, []
        try:
            for number in waiting:
                self._receive(number, None)
            yield
        finally:
            self._are_handled_at_once = False

    def _receive(self, number: int, frame: object) -> None:
        if not self._are_handled_at_once:
            self._waiting.append(number)
            return
        self._are_handled_at_once = False  # a second signal must not end the treatment of the first
        self._handlers[number](number, frame)
        self._are_handled_at_once = True  # this handler has raised nothing
