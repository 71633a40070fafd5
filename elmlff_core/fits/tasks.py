"""Many fits at the same time: each is a task with its own folder that any executor can run.

A task holds only names, numbers and paths, and the features are read from files, so a worker on another machine needs
only a shared folder.  The result of a finished task is read from its folder; an interrupted task resumes.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.progress import Progress, ProgressCallback, Reporter
from elmlff_core.errors import ConfigError, ElmlffError
from elmlff_core.features.feature_file import load_features, save_features
from elmlff_core.features.metrics import SPLITS, evaluated_splits, mean_rmse_per_frame
from elmlff_core.files import read_record, write_record
from elmlff_core.fits.executors import PROCESSES, opened
from elmlff_core.fits.fit import Fit, fit_or_load
from elmlff_core.fits.meta_models import NamedMeta
from elmlff_core.plugins.registry import registry
from elmlff_core.resources import keep_freed_memory, n_cores, threads_for
from elmlff_core.settings.config import TrainingConfig

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class FitResult:
    """The result of one fit.

    Attributes
    ----------
    errors : split -> force RMSE per frame (Eq. 7), eV/Å
    seconds : time of fitting and evaluation
    n_parameters : number of trainable parameters; None if the meta-model does not report it
    """

    errors: dict[str, float]
    seconds: float
    n_parameters: int | None = None


@dataclass(frozen=True)
class FitTask:
    """One meta-model that is to be fitted to the features of some base models.

    Attributes
    ----------
    name : name of the fit, for messages
    base_models : base models whose features it uses
    meta, options, training, seed : name and options of the meta-model, and its training
    folder : absolute path of the folder of this fit
    features : absolute path of the folder of the feature files
    n_threads : threads of torch; None if the worker sets them
    """

    name: str
    base_models: tuple[str, ...]
    meta: str
    options: dict[str, Any]
    training: TrainingConfig
    seed: int
    folder: Path
    features: Path
    n_threads: int | None = None

    @property
    def result(self) -> FitResult | None:
        """Return its result, or None if it is not finished."""
        path = self.folder / RESULT_FILE
        if not path.exists():
            return None
        return read_record(path, FitResult, f"remove the folder {self.folder} to fit again")


@dataclass(frozen=True)
class Placement:
    """The executor of fits, and its number of workers.

    Attributes
    ----------
    executor : ``processes``, ``serial``, or ``module:function``, which returns a `concurrent.futures.Executor`
    workers : number of worker processes of ``processes``; None for as many as the cores allow
    """

    executor: str = PROCESSES
    workers: int | None = None


def fit_everywhere(
    tasks: Sequence[FitTask],
    features: Mapping[str, Features],
    placement: Placement,
    title: str,
    reporter: Reporter,
) -> list[FitResult]:
    """Run the tasks that are not finished, several at the same time, and return the results of all, in their order.

    Parameters
    ----------
    tasks : tasks that share one folder of feature files
    features : features of the splits ``train``, ``valid`` and ``test``
    placement : executor and number of workers
    title : title of the progress bar
    reporter : reports progress to the user

    Raises
    ------
    ElmlffError
        A fit failed, or its worker was ended; the message names the fit.
    """
    left = [task for task in tasks if task.result is None]
    if left:
        devices = max(task.training.devices for task in left)  # each has a process
        n_workers = min(placement.workers or max(1, n_cores() // devices), len(tasks))
        n_threads = threads_for(n_workers * devices)
        write_features(features, left[0].features)
        if placement.executor == PROCESSES:
            left = [replace(task, n_threads=n_threads) for task in left]
        with (
            reporter.progress(title) as progress,
            opened(placement.executor, n_workers, n_threads) as executor,
        ):
            run_tasks(left, executor, progress)
    return [task.result or _unfinished(task) for task in tasks]


def write_features(features: Mapping[str, Features], folder: Path) -> None:
    """Write the features for fits, and those for errors, to files that every worker can read."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid"):
        save_features(features[split], folder / f"fit-{split}.safetensors")
    for split, values in evaluated_splits(features).items():
        save_features(values, folder / f"{split}.safetensors")


def run_task(task: FitTask) -> FitResult:
    """Fit, evaluate, and write the result to the folder of the task.

    This runs in a process of the executor.  It waits if another worker is running the same fit.
    """
    task.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(task.folder / "fit.lock"):
        if (finished := task.result) is not None:
            return finished
        if task.n_threads is not None:  # only in a worker process
            import torch

            torch.set_num_threads(task.n_threads)
            keep_freed_memory()
        meta = NamedMeta(task.meta, registry().meta_model(task.meta), task.options, task.training)
        train, valid = (_read(task.features / f"fit-{split}.safetensors") for split in ("train", "valid"))
        known = {"train": train.of_models(task.base_models), "valid": valid.of_models(task.base_models)}
        fitted = fit_or_load(Fit(meta, task.seed), known, task.folder, Reporter())
        started, errors = time.perf_counter(), {}
        for split in SPLITS:
            features = _read(task.features / f"{split}.safetensors").of_models(task.base_models)
            errors[split] = mean_rmse_per_frame(in_blocks(features, fitted.meta.predict).forces, features)
        seconds = round(fitted.seconds + time.perf_counter() - started, 3)
        result = FitResult(errors, seconds, fitted.n_parameters)
        write_record(task.folder / RESULT_FILE, asdict(result))
    return result


@functools.lru_cache(maxsize=8)
def _read(path: Path) -> Features:
    """Read features; a process that runs several fits reads each file once."""
    return load_features(path)


def run_tasks(tasks: Sequence[FitTask], executor: Executor, progress: ProgressCallback) -> list[FitResult]:
    """Run `tasks` and return their results, in their order; the first failure ends the others.

    ElmlffError if a fit fails; the message names the fit.
    """
    lock, done = threading.Lock(), 0

    def count(_: Future[FitResult]) -> None:
        nonlocal done
        with lock:
            done += 1
            progress(Progress(done, len(tasks), f"{done} of {len(tasks)} fits"))

    futures: dict[Future[FitResult], FitTask] = {}
    try:
        for task in tasks:
            future = executor.submit(run_task, task)
            futures[future] = task
            future.add_done_callback(count)
        found = {futures[future].folder: _result(future, futures[future]) for future in as_completed(futures)}
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return [found[task.folder] for task in tasks]


def _result(future: Future[FitResult], task: FitTask) -> FitResult:
    try:
        return future.result()
    except (BrokenProcessPool, CancelledError) as error:
        raise ElmlffError(
            f"the worker that fitted {task.name} was ended, perhaps for lack of memory; "
            "run the same command again to resume, with fewer --workers"
        ) from error
    except Exception as error:
        raise ElmlffError(f"fitting {task.name} failed: {type(error).__name__}: {error}") from error


def _unfinished(task: FitTask) -> FitResult:
    raise ConfigError(
        f"a worker wrote no {RESULT_FILE} in {task.folder}: check that the worker sees this folder under the same path"
    )
