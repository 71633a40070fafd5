"""Placement: where long steps run."""

from __future__ import annotations

from dataclasses import dataclass

from elmlff_core.resources import n_cores
from elmlff_core.settings.config import ResourcesConfig

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

    @classmethod
    def of(cls, resources: ResourcesConfig) -> Placement:
        """Return the placement that the settings name."""
        return cls(resources.executor, resources.workers)

    def runs_elsewhere(self, n_tasks: int) -> bool:
        """Return whether `n_tasks` are to be run by workers, and not one after the other in this process."""
        if self.executor == PROCESSES:
            return self.processes(n_tasks) > 1
        return n_tasks > 0 and self.executor != SERIAL

    def processes(self, n_tasks: int) -> int:
        """Return the number of processes for `n_tasks`."""
        return min(self.workers or n_cores(), n_tasks)
