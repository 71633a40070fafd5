"""Many fits at the same time: each is a task with its own folder that any executor can run.

A task holds only names, numbers and paths, and a worker finds the features by them, so one on another machine needs
only a shared folder.  The result of a finished task is read from its folder; an interrupted task resumes.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.progress import Reporter
from elmlff_core.errors import ConfigError
from elmlff_core.execution.placement import HERE, PROCESSES, Placement
from elmlff_core.execution.tasks import Task, run_tasks
from elmlff_core.features.feature_file import load_features, save_features
from elmlff_core.features.metrics import evaluated_splits, mean_rmse_per_frame
from elmlff_core.files import read_record, write_record
from elmlff_core.fits.fit import FITTED_FILE, Fit, Fitted, fit_or_load
from elmlff_core.locks import locked
from elmlff_core.settings.run_folder import RunFolder

RESULT_FILE = "result.json"
FOR_FITS = ("train", "valid")
AMOUNT_WORTH_A_WORKER = 20_000  # epochs times atoms: ten to twenty seconds


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


class FeatureSource(Protocol):
    """Where a fit gets its features, wherever it runs; it is pickled, so it holds names and paths."""

    def __call__(self, base_models: Sequence[str]) -> Mapping[str, Features]:
        """Return the features of these base models: those of ``train`` and ``valid`` at least."""
        ...


@dataclass(frozen=True)
class FeaturesHere:
    """Features in the memory of this process, for fits in this process."""

    features: Mapping[str, Features]

    def __call__(self, base_models: Sequence[str]) -> Mapping[str, Features]:
        return {split: values.of_models(base_models) for split, values in self.features.items()}


@dataclass(frozen=True)
class FeatureFiles:
    """Features of ``train`` and ``valid`` in the files of a folder."""

    folder: Path

    def __call__(self, base_models: Sequence[str]) -> Mapping[str, Features]:
        return {name: _read(self._file(name)).of_models(base_models) for name in FOR_FITS}

    def write(self, features: Mapping[str, Features]) -> None:
        """Write `features`, unless that is done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in FOR_FITS:
            if not self._file(name).exists():
                save_features(features[name], self._file(name))

    def _file(self, name: str) -> Path:
        return self.folder / f"fit-{name}.safetensors"


@dataclass(frozen=True)
class Fitting:
    """The work of one fit.

    Attributes
    ----------
    name : name of the fit, for messages; no other fit of its workflow has it
    fit : the fit
    base_models : base models whose features it uses
    folder : absolute path of the folder of this fit
    source : gives the features
    """

    name: str
    fit: Fit
    base_models: tuple[str, ...]
    folder: Path
    source: FeatureSource

    def __call__(self, reporter: Reporter) -> None:
        """Fit, or finish a fit that was interrupted."""
        self.fitted(self.source(self.base_models), reporter)

    @property
    def is_done(self) -> bool:
        """Whether an earlier run has done it."""
        return (self.folder / FITTED_FILE).exists()

    def task(self, after: tuple[str, ...] = ()) -> Task:
        """Return the task of a worker, which waits for the tasks called `after`."""
        return Task(f"fitting {self.name}", self, after)

    def fitted(self, features: Mapping[str, Features], reporter: Reporter) -> Fitted:
        """Return the fit, finished."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "fit.lock"):  # a scheduler may give the task of a worker that it lost to another one
            return fit_or_load(self.fit, features, self.folder, reporter)


@dataclass(frozen=True)
class FitTask(Fitting):
    """The work of one fit of which only the errors are wanted; its `source` has ``test`` too."""

    @property
    def is_done(self) -> bool:
        return self.result is not None

    @property
    def result(self) -> FitResult | None:
        """Return its result, or None if it is not finished."""
        path = self.folder / RESULT_FILE
        if not path.exists():
            return None
        return read_record(path, FitResult, f"remove the folder {self.folder} to fit again")

    def __call__(self, reporter: Reporter) -> None:
        """Fit, evaluate, and write the result to the folder of the fit."""
        features = self.source(self.base_models)
        fitted = self.fitted(features, reporter)
        started, errors = time.perf_counter(), {}
        for split, part in evaluated_splits(features).items():
            errors[split] = mean_rmse_per_frame(in_blocks(part, fitted.meta.predict).forces, part)
        seconds = round(fitted.seconds + time.perf_counter() - started, 3)
        write_record(self.folder / RESULT_FILE, asdict(FitResult(errors, seconds, fitted.n_parameters)))


def fit_everywhere(
    tasks: Sequence[FitTask],
    features: Mapping[str, Features],
    placement: Placement,
    title: str,
    run: RunFolder,
    reporter: Reporter,
) -> list[FitResult]:
    """Run the tasks that are not finished, several at the same time, and return the results of all, in their order.

    Parameters
    ----------
    tasks : the fits; workers get their features from where each says
    features : features of the splits ``train``, ``valid`` and ``test``, for fits in this process
    placement : executor and number of workers
    title : what the fits are together
    run : folder of the run, for logs
    reporter : reports progress to the user

    Raises
    ------
    ElmlffError
        Fits failed, or their workers were ended; the message names the fits.
    """
    left = [task for task in tasks if not task.is_done]
    if left:
        devices = most_devices(left)
        if not placement.runs_elsewhere(len(tasks), devices):
            placement, left = HERE, [replace(task, source=FeaturesHere(features)) for task in left]
        run_tasks([task.task() for task in left], placement, run.tasks, title, reporter, len(tasks), devices)
    return [task.result or _unfinished(task) for task in tasks]


@dataclass(frozen=True)
class FitJob:
    """One fit whose result is wanted as a whole.

    Attributes
    ----------
    fit : the fit
    features : features of ``train`` and ``valid``
    kept : folder for files of these features, if a worker needs them; several jobs with the same features share it
    folder : folder of the fit
    """

    fit: Fit
    features: Mapping[str, Features]
    kept: Path
    folder: Path

    @property
    def takes_long(self) -> bool:
        """Whether it is one that is worth a worker, and not finished."""
        return self.fit.meta.sees_geometry and not (self.folder / FITTED_FILE).exists()

    def task(self) -> Task:
        """Write the features to files, and return the task of a worker."""
        files = FeatureFiles(self.kept.absolute())
        files.write(self.features)
        return Fitting(self.fit.name, self.fit, self.features["train"].models, self.folder.absolute(), files).task()


def fit_all(jobs: Sequence[FitJob], placement: Placement, logs: Path, title: str, reporter: Reporter) -> list[Fitted]:
    """Fit to the training structures, selecting states on the validation ones, and return the fits in their order.

    Trainings are run by the workers of `placement`, several at the same time, unless all of them together take no
    longer than the start of a process.  Finished fits are loaded.

    Parameters
    ----------
    jobs : what is to be fitted
    placement : where trainings run
    logs : folder for the logs of workers
    title : what the fits are together
    reporter : receives progress
    """
    left = [job for job in jobs if job.takes_long]
    devices, amount = most_devices(left), sum(job.fit.amount(job.features["train"].structures) for job in left)
    worth_it = placement.executor != PROCESSES or amount > AMOUNT_WORTH_A_WORKER
    if worth_it and placement.runs_elsewhere(len(left), devices):
        run_tasks([job.task() for job in left], placement, logs, title, reporter, len(jobs), devices)
    return [fit_or_load(job.fit, job.features, job.folder, reporter) for job in jobs]


def most_devices(fits: Sequence[Fitting] | Sequence[FitJob]) -> int:
    """Return the most devices of a fit."""
    return max((one.fit.meta.training.devices for one in fits if one.fit.meta.trained), default=1)


@functools.lru_cache(maxsize=8)
def _read(path: Path) -> Features:
    """Read features; a process that runs several fits reads each file once."""
    return load_features(path)


def _unfinished(task: FitTask) -> FitResult:
    raise ConfigError(
        f"a worker wrote no {RESULT_FILE} in {task.folder}: check that the worker sees this folder under the same path"
    )
