"""What was last predicted from features: their uncertainty is asked for after the forces, and found with them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from elmlff_core.contracts.features import Features


class Remembered[Value]:
    """The last value that was computed from features, for who asks for more of the same features.

    The features are not kept alive.  A copy, or a pickle, remembers nothing.
    """

    def __init__(self) -> None:
        self._last: tuple[weakref.ref[Features], object, Value] | None = None

    def keep(self, features: Features, value: Value, by: object = None) -> Value:
        """Remember the `value` of `features`, made by `by`, and return it."""
        self._last = weakref.ref(features), by, value
        return value

    def value(self, features: Features, compute: Callable[[], Value], by: object = None) -> Value:
        """Return the value of `features`; it is computed if the last one was of other features, or not made by `by`."""
        if self._last is None or self._last[0]() is not features or self._last[1] is not by:
            return self.keep(features, compute(), by)
        return self._last[2]

    def __reduce__(self) -> tuple[Any, ...]:
        return Remembered, ()
