"""Placement: where long steps run."""

from __future__ import annotations

from dataclasses import dataclass

PROCESSES, SERIAL = "processes", "serial"
NAMES = (PROCESSES, SERIAL)


@dataclass(frozen=True)
class Placement:
    """The executor of long steps, and its number of workers.

    Attributes
    ----------
    executor : ``processes``, ``serial``, or ``module:function``, which returns a `concurrent.futures.Executor`
    workers : number of worker processes of ``processes``; None for the number of cores
    """

    executor: str = PROCESSES
    workers: int | None = None
