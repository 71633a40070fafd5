"""Placement: where long steps run, as the table ``resources`` of the settings says.

This module imports neither NumPy nor torch, as those beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from elmlff_core.execution.launch import current
from elmlff_core.resources import gpus, n_cores, threads_for
from elmlff_core.settings.config import JobConfig, ResourcesConfig

PROCESSES, SERIAL, DASK, PARSL = "processes", "serial", "dask", "parsl"
QUEUES = ("dask-slurm", "dask-pbs", "dask-lsf")
NAMES = (PROCESSES, SERIAL, DASK, *QUEUES, PARSL)


@dataclass(frozen=True)
class Placement:
    """The executor of long steps, and what it needs to start.

    Attributes
    ----------
    executor : one of `NAMES`, or ``module:function``, a function of the user
    workers : number of worker processes in all; None for one on each GPU here, or on each core if there are none, or
        for one job of a queue
    address : address or scheduler file of a running scheduler, for ``dask``
    job : a job of a queue
    """

    executor: str = PROCESSES
    workers: int | None = None
    address: str | None = None
    job: JobConfig = field(default_factory=JobConfig)

    @classmethod
    def of(cls, resources: ResourcesConfig) -> Placement:
        """Return the placement that the settings ask for; one worker process on this machine is this process itself.

        So it is for the first process of a launch, because trainings that all its processes share must be there.
        """
        here = current() is not None or (resources.executor == PROCESSES and resources.workers == 1)
        return cls(SERIAL if here else resources.executor, resources.workers, resources.address, resources.job)

    def runs_elsewhere(self, n_tasks: int, devices: int = 1) -> bool:
        """Return whether workers are to run `n_tasks` tasks, instead of this process, one after the other."""
        if self.executor == PROCESSES:
            return self.n_workers(n_tasks, devices) > 1
        return n_tasks > 0 and self.executor != SERIAL

    def n_workers(self, n_tasks: int, devices: int = 1) -> int:
        """Return the number of processes for `n_tasks` tasks of `devices` each, not more than there are tasks."""
        here = max(1, (len(gpus()) or n_cores()) // devices)
        wanted = self.workers or (self.job.workers if self.executor in QUEUES else here)
        return max(1, min(wanted, n_tasks))

    def n_threads(self, n_workers: int) -> int:
        """Return the number of threads of each of `n_workers` worker processes: its share of the cores."""
        return self.job.cores // self.job.workers if self.executor in QUEUES else threads_for(n_workers)


HERE = Placement(SERIAL)  # in this process, one task after the other
