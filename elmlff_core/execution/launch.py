"""A launch: processes that torchrun, or srun of SLURM, has started for one command, on one machine or several.

The first of them runs the command.  The others take part in its trainings on several devices, and do nothing else
(`elmlff_core.meta.training.launched`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from elmlff_core.resources import threads_for

# Taken out of the environment, so that nothing that a command runs believes to be a part of the launch itself.
ITS_VARIABLES = re.compile(
    r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|ROLE_NAME|MASTER_(ADDR|PORT)|TORCHELASTIC_\w+|"
    r"SLURM_(NTASKS|NPROCS|PROCID|LOCALID|NODEID|NTASKS_PER_NODE|TASKS_PER_NODE|STEP_\w+)"
)


@dataclass(frozen=True)
class Launch:
    """One of the `n` processes of a launch.

    Attributes
    ----------
    rank : its number; 0 runs the command
    n : number of processes
    local : its number among those of its machine
    n_threads : its share of the cores
    address, port : where the processes meet
    has_host : whether the launcher listens there; otherwise the first process does
    """

    rank: int
    n: int
    local: int
    n_threads: int
    address: str
    port: int
    has_host: bool

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Launch | None:
        """Return the launch that the environment tells of; None if this process was started alone."""
        if int(variables.get("WORLD_SIZE", 1)) > 1 and {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= set(variables):
            return cls(
                rank=int(variables["RANK"]),
                n=int(variables["WORLD_SIZE"]),
                local=int(variables.get("LOCAL_RANK", 0)),
                n_threads=threads_for(int(variables.get("LOCAL_WORLD_SIZE", 1))),
                address=variables["MASTER_ADDR"],
                port=int(variables["MASTER_PORT"]),
                has_host=variables.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            )
        # Set by srun alone: a job script that runs elmlff without it has only the variables of the job.
        if int(variables.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
            job, step = (int(variables.get(name, 0)) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
            threads = variables.get("OMP_NUM_THREADS") or variables.get("SLURM_CPUS_PER_TASK") or "1"
            return cls(
                rank=int(variables["SLURM_PROCID"]),
                n=int(variables["SLURM_STEP_NUM_TASKS"]),
                local=int(variables["SLURM_LOCALID"]),
                n_threads=int(threads.partition(",")[0]),
                address=variables.get("MASTER_ADDR") or first_host(variables["SLURM_STEP_NODELIST"]),
                port=int(variables.get("MASTER_PORT") or 15_000 + (job + step) % 10_000),
                has_host=False,
            )
        return None


def first_host(hosts: str) -> str:
    """Return the first of SLURM's list of hosts, such as ``gpu[07-09,12],big1``."""
    return re.sub(r"\[(\w+)[^]]*\]", r"\1", hosts).split(",")[0]


_launch: Launch | None = None


def current() -> Launch | None:
    """Return the launch of which this process is a part; None if it was started alone."""
    return _launch


def take() -> Launch | None:
    """Return the launch that the environment tells of, and take it out of the environment."""
    global _launch
    _launch = Launch.of(os.environ)
    if _launch is not None:
        for name in [name for name in os.environ if ITS_VARIABLES.fullmatch(name)]:
            del os.environ[name]
    return _launch
