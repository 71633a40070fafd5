"""Calculators that no Python exception stops: the fuzzer must survive and report them."""

import ctypes


def crash() -> None:
    """Read what is not there: the process ends by a signal."""
    ctypes.string_at(0)


def hang() -> None:
    """Never return."""
    while True:
        pass
