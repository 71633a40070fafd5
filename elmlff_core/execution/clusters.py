"""Executors of other projects, ready-made: Dask, on this machine or in the jobs of a queue, and Parsl.

Each worker process runs one task at a time, because tasks set seeds and threads for their whole process.  Schedulers of
Dask that elmlff starts speak TLS with certificates of their own: who reaches a scheduler without them, from another
account of a login node for example, could let it run any code.

NumPy and torch stay out of this module: see `elmlff_core.execution.executors`.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from elmlff_core.errors import ConfigError
from elmlff_core.execution.placement import DASK, PARSL, QUEUES, Placement
from elmlff_core.resources import THREAD_VARIABLES

# Executor -> the modules that it needs and the extra of elmlff that brings them.
NEEDED = {
    DASK: (("distributed", "cryptography"), "dask"),
    **dict.fromkeys(QUEUES, (("distributed", "cryptography", "dask_jobqueue"), "dask")),
    PARSL: (("parsl",), "parsl"),
}
CLUSTERS = {"dask-slurm": "SLURMCluster", "dask-pbs": "PBSCluster", "dask-lsf": "LSFCluster"}
# A job that ends, at its walltime for example, is replaced; one that fails at once is tried again not more often, s.
REPLACED_EVERY = 60
# How often a task whose worker was ended is given to another worker; that is how often Dask does it by itself.
TRIED_AGAIN = 3
# Ctrl-C, and the SIGTERM of a queue, reach all processes of a group.  The interchange of Parsl, between the command and
# its workers, must outlive them: without it Parsl waits for ever when it is shut down.  It must not outlive the command
# itself, even if that is killed, because workers stay as long as it does (prctl 1 is PR_SET_PDEATHSIG, of Linux only).
IN_OWN_SESSION = (
    sys.executable,
    "-c",
    "import ctypes, os, sys; os.setsid(); sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 9); "
    "os.execvp(sys.argv[1], sys.argv[1:])",
)


def check_cluster(placement: Placement) -> None:
    """Raise ConfigError if the executor cannot be opened here; nothing is started, and no job is submitted."""
    from elmlff_core.contracts.hookspecs import PROJECT
    from elmlff_core.plugins.requirements import is_importable

    modules, extra = NEEDED[placement.executor]
    if missing := [module for module in modules if not is_importable(module)]:
        raise ConfigError(
            f"executor '{placement.executor}' needs {' and '.join(missing)}: pip install \"{PROJECT}[{extra}]\""
        )
    if placement.executor in QUEUES:
        job_script(placement)
        program = _cluster_of(placement).job_cls.submit_command.split()[0]
        if shutil.which(program) is None:
            raise ConfigError(
                f"executor '{placement.executor}' submits jobs by '{program}', which is not on PATH: start elmlff on a "
                "machine where jobs are submitted"
            )


@contextmanager
def cluster(placement: Placement, n_workers: int, n_threads: int) -> Iterator[Executor]:
    """Open the executor of a placement by Dask or Parsl, and end its workers and jobs at the end of the block.

    Parameters
    ----------
    placement : the executor, one of `NEEDED`, and its settings
    n_workers : number of worker processes
    n_threads : number of threads of each
    """
    check_cluster(placement)
    add_programs_to_path()
    if placement.executor == PARSL:
        with _parsl(n_workers, n_threads) as executor:
            yield executor
    else:
        with _dask(placement, n_workers, n_threads) as executor:
            yield executor


@contextmanager
def parsl_executor(config: Any) -> Iterator[Executor]:
    """Open an executor with the configuration of Parsl, a `parsl.Config`."""
    from parsl import HighThroughputExecutor
    from parsl.concurrent import ParslPoolExecutor

    for part in config.executors:
        if isinstance(part, HighThroughputExecutor):
            part.interchange_launch_cmd = [*IN_OWN_SESSION, *part.interchange_launch_cmd]
    with _shut_down(ParslPoolExecutor(config)) as executor:
        yield executor


@contextmanager
def _shut_down(executor: Executor) -> Iterator[Executor]:
    """Shut `executor` down at the end of the block; at an error without waiting."""
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False)
        raise
    executor.shutdown(wait=True)


def is_parsl_config(value: object) -> bool:
    """Return whether `value` is a `parsl.Config`; Parsl is not imported for it."""
    parsl = sys.modules.get("parsl")
    return parsl is not None and isinstance(value, parsl.Config)


def job_script(placement: Placement) -> str:
    """Return the script of a job of a queue, without a scheduler that runs; ConfigError if its settings are wrong."""
    try:
        job = _cluster_of(placement).job_cls("tcp://scheduler:8786", "elmlff-0", **_job_options(placement))
    except ValueError as error:
        raise ConfigError(f"the settings [resources.job] make no job for '{placement.executor}': {error}") from error
    return str(job.job_script())


@contextmanager
def _dask(placement: Placement, n_workers: int, n_threads: int) -> Iterator[Executor]:
    with _scheduler(placement, n_workers, n_threads) as client, _shut_down(client.get_executor()) as executor:
        yield executor


@contextmanager
def _scheduler(placement: Placement, n_workers: int, n_threads: int) -> Iterator[Any]:
    """Start a scheduler with workers, or find the one that is running, and yield a client of it."""
    from distributed import Client, LocalCluster

    if placement.executor in QUEUES:
        n_jobs = -(-n_workers // placement.job.workers)
        with (
            tempfile.TemporaryDirectory(prefix=".elmlff-jobs-", dir=Path.cwd()) as shared,  # certificates, for jobs
            _cluster_of(placement)(
                **_job_options(placement),
                security=True,
                shared_temp_directory=shared,
                scheduler_options=_scheduler_options(placement),
            ) as jobs,
            Client(jobs) as client,
        ):
            jobs.scale(jobs=n_jobs)
            jobs.adapt(minimum_jobs=n_jobs, maximum_jobs=n_jobs, interval=f"{REPLACED_EVERY}s")
            yield client
    elif placement.address is not None:
        with closing(_running(placement.address)) as client:
            yield client
    else:
        variables = dict.fromkeys(THREAD_VARIABLES, str(n_threads))
        with (
            LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                dashboard_address=None,
                env=variables,
                security=True,
                silence_logs=logging.ERROR,
            ) as local,
            Client(local) as client,
        ):
            yield client


def _running(address: str) -> Any:
    """Return a client of a running scheduler; ConfigError if it does not answer."""
    from distributed import Client

    try:
        return Client(scheduler_file=address) if Path(address).is_file() else Client(address)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no Dask scheduler answers at resources.address = '{address}': {error}") from error


def _cluster_of(placement: Placement) -> Any:
    """Return the class of dask-jobqueue for a kind of queue."""
    before = signal.getsignal(signal.SIGINT)
    import dask_jobqueue

    if before is not None:  # its import lets Ctrl-C end this process with success, and without a word
        signal.signal(signal.SIGINT, before)
    return getattr(dask_jobqueue, CLUSTERS[placement.executor])


def _configured(placement: Placement, key: str) -> Any:
    """Return what the file of settings of dask-jobqueue says on `key` for this kind of queue."""
    import dask

    return dask.config.get(f"jobqueue.{placement.executor.removeprefix('dask-')}.{key}", None)


def _scheduler_options(placement: Placement) -> dict[str, Any]:
    return {"dashboard_address": None, **(_configured(placement, "scheduler-options") or {})}


def _job_options(placement: Placement) -> dict[str, Any]:
    """Return the arguments for a cluster of dask-jobqueue; what is not given comes from its own settings."""
    job = placement.job
    n_threads = placement.n_threads(job.workers)
    given = {
        "queue": job.queue,
        "project" if placement.executor == "dask-lsf" else "account": job.account,
        "walltime": job.walltime,
    }
    return {
        **{key: value for key, value in given.items() if value is not None},
        "cores": job.cores,
        "memory": job.memory,
        "processes": job.workers,
        "job_name": "elmlff",
        # Tasks at a time: dask-jobqueue would run one on each core; the later of two options counts.
        "worker_extra_args": [*(_configured(placement, "worker-extra-args") or ()), "--nthreads", "1"],
        "job_extra_directives": [*(_configured(placement, "job-extra-directives") or ()), *job.directives],
        "job_script_prologue": [
            *(f"export {name}={n_threads}" for name in THREAD_VARIABLES),
            *(_configured(placement, "job-script-prologue") or ()),
            *job.lines,
        ],
    }


@contextmanager
def _parsl(n_workers: int, n_threads: int) -> Iterator[Executor]:
    """Open workers of Parsl on this machine; its logs go to a folder that is removed."""
    from parsl import Config, HighThroughputExecutor
    from parsl.providers import LocalProvider

    threads = "; ".join(f"export {name}={n_threads}" for name in THREAD_VARIABLES)
    with tempfile.TemporaryDirectory(prefix="elmlff-parsl-", ignore_cleanup_errors=True) as folder:
        workers = HighThroughputExecutor(
            max_workers_per_node=n_workers,
            provider=LocalProvider(max_blocks=1, worker_init=threads),
            address="127.0.0.1",
        )
        config = Config(executors=[workers], run_dir=folder, retries=TRIED_AGAIN)
        with parsl_executor(config) as executor:
            yield executor


def add_programs_to_path() -> None:
    """Add the programs of this environment to PATH: Parsl starts some by name, and the environment may be inactive."""
    programs = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    if programs not in path.split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([programs, path])
