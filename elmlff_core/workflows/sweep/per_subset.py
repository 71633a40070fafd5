"""The way `each`: the meta-model fitted for every subset, in a folder each, several at once.

A task holds names, numbers and paths alone, so that any executor can carry it; the features are read from files that
all workers can reach.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Executor, Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.progress import Progress, ProgressCallback, Reporter
from elmlff_core.errors import ElmlffError
from elmlff_core.features.feature_file import load_features, save_features
from elmlff_core.fits.meta_models import NamedMeta
from elmlff_core.plugins.registry import registry
from elmlff_core.resources import keep_freed_memory
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.workflows.sweep.subset_errors import PARTS, Entry
from elmlff_core.workflows.sweep.subsets import Subset, subset_name

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class SubsetFit:
    """One meta-model to be fitted with one subset of the bases.

    Attributes
    ----------
    subset : names of the bases
    meta, options, training, seed : the meta-model and how it is trained
    folder : absolute, of this fit alone
    features : absolute folder of the feature files
    n_threads : of torch, None where the worker sets them
    """

    subset: Subset
    meta: str
    options: dict[str, Any]
    training: TrainingConfig
    seed: int
    folder: Path
    features: Path
    n_threads: int | None = None

    @property
    def finished(self) -> Entry | None:
        """What came of it, None where it is not finished."""
        path = self.folder / RESULT_FILE
        return Entry.from_record(json.loads(path.read_text())) if path.exists() else None


def write_features(features: dict[str, Features], evaluated: dict[str, Features], folder: Path) -> None:
    """Files of what is fitted and of what errors are taken over."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "valid"):
        save_features(features[part], folder / f"fit-{part}.safetensors")
    for part in PARTS:
        save_features(evaluated[part], folder / f"{part}.safetensors")


def subset_fits(
    subsets: Sequence[Subset], meta: NamedMeta, seed: int, folder: Path, features: Path, n_threads: int | None
) -> list[SubsetFit]:
    """The tasks of a sweep, each with a folder below `folder`."""
    return [
        SubsetFit(
            subset, meta.name, meta.options, meta.training, seed, (folder / subset_name(subset)).absolute(),
            features.absolute(), n_threads,
        )
        for subset in subsets
    ]  # fmt: skip


def fit_subset(task: SubsetFit) -> Entry:
    """Fit, evaluate, and leave the result in the task's folder; what is finished is read, what was begun goes on.

    Runs in whatever process an executor gives it.  Another worker at the same fit is waited for.
    """
    from elmlff_core.fits.fit import Fit, fit_or_load

    task.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(task.folder / "fit.lock"):
        if (finished := task.finished) is not None:
            return finished
        if task.n_threads is not None:  # a process of its own
            import torch

            torch.set_num_threads(task.n_threads)
            keep_freed_memory()
        meta = NamedMeta(task.meta, registry().meta_model(task.meta), task.options, task.training)
        train, valid = (_read(task.features / f"fit-{part}.safetensors") for part in ("train", "valid"))
        known = {"train": train.of_models(task.subset), "valid": valid.of_models(task.subset)}
        fitted = fit_or_load(Fit(meta, task.seed), known, task.folder, Reporter())
        entry = _evaluated(task, fitted.meta.predict, fitted.seconds)
        partial = task.folder / (RESULT_FILE + ".partial")
        partial.write_text(json.dumps(entry.as_record()))
        partial.replace(task.folder / RESULT_FILE)
    return entry


def _evaluated(task: SubsetFit, predict: Callable[[Features], Any], fitting_seconds: float) -> Entry:
    import time

    from elmlff_core.workflows.sweep.subset_errors import error_of

    started, errors = time.perf_counter(), {}
    for part in PARTS:
        features = _read(task.features / f"{part}.safetensors").of_models(task.subset)
        errors[part] = error_of(in_blocks(features, predict).forces, features)
    return Entry(task.subset, "each", errors, round(fitting_seconds + time.perf_counter() - started, 3))


@functools.lru_cache(maxsize=8)
def _read(path: Path) -> Features:
    """Read once a process, not once a fit."""
    return load_features(path)


def run_fits(tasks: Sequence[SubsetFit], executor: Executor, progress: ProgressCallback) -> list[Entry]:
    """The entries of `tasks`, in their order; the first failure ends the others.

    ElmlffError where a fit fails, naming its subset.
    """
    lock, done = threading.Lock(), 0

    def count(_: Future[Entry]) -> None:
        nonlocal done
        with lock:
            done += 1
            progress(Progress(done, len(tasks), f"{done} of {len(tasks)} fits"))

    futures: dict[Future[Entry], SubsetFit] = {}
    try:
        for task in tasks:
            future = executor.submit(fit_subset, task)
            futures[future] = task
            future.add_done_callback(count)
        found = {futures[future].folder: _result(future, futures[future]) for future in as_completed(futures)}
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return [found[task.folder] for task in tasks]


def _result(future: Future[Entry], task: SubsetFit) -> Entry:
    name = subset_name(task.subset)
    try:
        return future.result()
    except (BrokenProcessPool, CancelledError) as error:
        raise ElmlffError(
            f"the worker that fitted {task.meta} with {name} was ended: out of memory? "
            "The same command goes on; --workers takes fewer at once"
        ) from error
    except Exception as error:
        raise ElmlffError(f"fitting {task.meta} with {name} failed: {type(error).__name__}: {error}") from error
