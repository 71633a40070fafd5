"""Many fits at the same time: each is a task with its own folder that any executor can run.

A task holds only names, numbers and paths, and the features are read from files, so a worker on another machine needs
only a shared folder.  The result of a finished task is read from its folder; an interrupted task resumes.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.progress import Reporter
from elmlff_core.errors import ConfigError
from elmlff_core.execution.placement import PROCESSES, Placement
from elmlff_core.execution.tasks import Task, run_tasks
from elmlff_core.features.feature_file import load_features, save_features
from elmlff_core.features.metrics import SPLITS, evaluated_splits, mean_rmse_per_frame
from elmlff_core.files import read_record, write_record
from elmlff_core.fits.fit import FITTED_FILE, Fit, Fitted, fit_or_load
from elmlff_core.locks import locked
from elmlff_core.settings.run_folder import RunFolder

RESULT_FILE = "result.json"
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


@dataclass(frozen=True)
class Fitting:
    """The work of one fit, with features from files.

    Attributes
    ----------
    fit : the fit
    base_models : base models whose features it uses
    folder : absolute path of the folder of this fit
    features : absolute path of the folder of the feature files
    """

    fit: Fit
    base_models: tuple[str, ...]
    folder: Path
    features: Path

    def __call__(self, reporter: Reporter) -> None:
        """Fit, or finish a fit that was interrupted."""
        self.fitted(reporter)

    def fitted(self, reporter: Reporter) -> Fitted:
        """Return the fit, finished."""
        known = {split: self.read(f"fit-{split}") for split in ("train", "valid")}
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "fit.lock"):  # a scheduler may give the task of a worker that it lost to another one
            return fit_or_load(self.fit, known, self.folder, reporter)

    def read(self, name: str) -> Features:
        """Read one of the feature files."""
        return _read(self.features / f"{name}.safetensors").of_models(self.base_models)


@dataclass(frozen=True)
class FitTask(Fitting):
    """The work of one fit of which only the errors are wanted.

    Attributes
    ----------
    name : name of the fit, for messages
    """

    name: str

    @property
    def result(self) -> FitResult | None:
        """Return its result, or None if it is not finished."""
        path = self.folder / RESULT_FILE
        if not path.exists():
            return None
        return read_record(path, FitResult, f"remove the folder {self.folder} to fit again")

    def __call__(self, reporter: Reporter) -> None:
        """Fit, evaluate, and write the result to the folder of the fit."""
        fitted = self.fitted(reporter)
        started, errors = time.perf_counter(), {}
        for split in SPLITS:
            features = self.read(split)
            errors[split] = mean_rmse_per_frame(in_blocks(features, fitted.meta.predict).forces, features)
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
    tasks : tasks that share one folder of feature files
    features : features of the splits ``train``, ``valid`` and ``test``
    placement : executor and number of workers
    title : what the fits are together
    run : folder of the run, for logs
    reporter : reports progress to the user

    Raises
    ------
    ElmlffError
        Fits failed, or their workers were ended; the message names the fits.
    """
    left = [task for task in tasks if task.result is None]
    if left:
        _write_for_fits(features, left[0].features)
        for split, values in evaluated_splits(features).items():
            save_features(values, left[0].features / f"{split}.safetensors")
        to_do = [Task(f"fitting {task.name}", task) for task in left]
        run_tasks(to_do, placement, run.tasks, title, reporter, len(tasks), _devices(left))
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
        """Whether it is a training that is not finished."""
        return self.fit.meta.trained and not (self.folder / FITTED_FILE).exists()

    def task(self) -> Task:
        """Write the features to files, and return the task of a worker."""
        if not _last_file(self.kept).exists():
            _write_for_fits(self.features, self.kept)
        models = self.features["train"].models
        return Task(f"fitting {self.fit.name}", Fitting(self.fit, models, self.folder.absolute(), self.kept.absolute()))


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
    devices, amount = _devices(left), sum(job.fit.amount(job.features["train"].structures) for job in left)
    worth_it = placement.executor != PROCESSES or amount > AMOUNT_WORTH_A_WORKER
    if worth_it and placement.runs_elsewhere(len(left), devices):
        run_tasks([job.task() for job in left], placement, logs, title, reporter, len(jobs), devices)
    return [fit_or_load(job.fit, job.features, job.folder, reporter) for job in jobs]


def _devices(fits: Sequence[FitTask] | Sequence[FitJob]) -> int:
    """Return the most devices of a fit."""
    return max((one.fit.meta.training.devices for one in fits), default=1)


def _write_for_fits(features: Mapping[str, Features], folder: Path) -> None:
    """Write the features for fits to files that every worker can read."""
    folder.mkdir(parents=True, exist_ok=True)
    save_features(features["train"], folder / "fit-train.safetensors")
    save_features(features["valid"], _last_file(folder))


def _last_file(folder: Path) -> Path:
    """Return the file whose presence means that the features for fits are complete."""
    return folder / "fit-valid.safetensors"


@functools.lru_cache(maxsize=8)
def _read(path: Path) -> Features:
    """Read features; a process that runs several fits reads each file once."""
    return load_features(path)


def _unfinished(task: FitTask) -> FitResult:
    raise ConfigError(
        f"a worker wrote no {RESULT_FILE} in {task.folder}: check that the worker sees this folder under the same path"
    )
