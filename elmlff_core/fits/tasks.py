"""Many fits at once: each a task that any executor can carry, with a folder of its own.

A task holds names, numbers and paths alone, and the features are read from files, so that a worker on another machine
needs nothing but a shared folder.  A finished task is read, an interrupted one resumes.
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
from elmlff_core.files import read_json, write_json
from elmlff_core.fits.executors import PROCESSES, opened
from elmlff_core.fits.fit import Fit, fit_or_load
from elmlff_core.fits.meta_models import NamedMeta
from elmlff_core.plugins.registry import registry
from elmlff_core.resources import keep_freed_memory, n_cores, threads_for
from elmlff_core.settings.config import TrainingConfig

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class FitResult:
    """What came of one fit.

    Attributes
    ----------
    errors : split -> force RMSE per frame (Eq. 7), eV/Å
    seconds : fitting and evaluating took
    n_parameters : trainable numbers, or None where the meta-model does not tell
    """

    errors: dict[str, float]
    seconds: float
    n_parameters: int | None = None


@dataclass(frozen=True)
class FitTask:
    """One meta-model to be fitted to the features of some base models.

    Attributes
    ----------
    name : of the fit, for messages
    base_models : whose features it sees
    meta, options, training, seed : the meta-model and how it is trained
    folder : absolute, of this fit alone
    features : absolute folder of the feature files
    n_threads : of torch, None where the worker sets them
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
        """What came of it, None where it is not finished."""
        path = self.folder / RESULT_FILE
        if not path.exists():
            return None
        found = read_json(path, ("errors", "seconds", "n_parameters"), f"remove the folder {self.folder} to fit again")
        return FitResult(found["errors"], found["seconds"], found["n_parameters"])


@dataclass(frozen=True)
class Placement:
    """Where fits run.

    Attributes
    ----------
    executor : ``processes``, ``serial``, or ``module:function`` which returns a `concurrent.futures.Executor`
    workers : how many of ``processes``; None for as many as there are cores
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
    """The results of `tasks`, in their order; those that are not finished are fitted, several at once.

    Parameters
    ----------
    tasks : share the folder of their feature files
    features : of the splits ``train``, ``valid`` and ``test``
    placement : where they run
    title : of the progress bar
    reporter : told of progress

    Raises
    ------
    ElmlffError
        A fit failed, or its worker was ended; the message names it.
    """
    left = [task for task in tasks if task.result is None]
    if left:
        n_workers = min(placement.workers or n_cores(), len(tasks))
        n_threads = threads_for(n_workers)
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
    """Write what is fitted, and what errors are taken over, where every worker can read it."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid"):
        save_features(features[split], folder / f"fit-{split}.safetensors")
    for split, values in evaluated_splits(features).items():
        save_features(values, folder / f"{split}.safetensors")


def run_task(task: FitTask) -> FitResult:
    """Fit, evaluate, and leave the result in the task's folder.

    This runs in whatever process an executor gives it.  It waits where another worker is at the same fit.
    """
    task.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(task.folder / "fit.lock"):
        if (finished := task.result) is not None:
            return finished
        if task.n_threads is not None:  # a process of its own
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
        write_json(task.folder / RESULT_FILE, asdict(result))
    return result


@functools.lru_cache(maxsize=8)
def _read(path: Path) -> Features:
    """Read once a process, not once a fit."""
    return load_features(path)


def run_tasks(tasks: Sequence[FitTask], executor: Executor, progress: ProgressCallback) -> list[FitResult]:
    """The results of `tasks`, in their order; the first failure ends the others.

    ElmlffError where a fit fails, naming it.
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
            f"the worker that fitted {task.name} was ended: out of memory? "
            "The same command resumes; --workers takes fewer at once"
        ) from error
    except Exception as error:
        raise ElmlffError(f"fitting {task.name} failed: {type(error).__name__}: {error}") from error


def _unfinished(task: FitTask) -> FitResult:
    raise ConfigError(
        f"a worker left no {RESULT_FILE} in {task.folder}: does it see that folder under the same path as this process?"
    )
