"""The settings of a run, as read from elmlff.toml and validated."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

DEFAULT_FILE = Path("elmlff.toml")
AUTO = DEFAULT_META = "auto"  # the choice is that of the amount of data, see `elmlff_core.fits.auto`
MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # names of folders are made of them
N_SEEDS = 2**32  # NumPy takes no larger seed
Budget = Literal["quick", "long", "paper"]
LONG = 3  # times as long as quick, unless a plugin says otherwise
SplitMethod = Literal["random", "blocks", "clusters"]


class Section(BaseModel):
    """Base class of the tables of elmlff.toml; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """The sources of structures and labels, and how they are split.

    `train` and `test` are files, deepmd/npy folders or names of embedded examples or published datasets.  Without
    `test`, the fraction `test_fraction` of the data is held out for testing.  Validation structures are always taken
    from the remaining training data.  `check_units` refuses labels that are not in eV and eV/Å, as far as the labels
    and given base models tell.

    `earlier_run` is the folder of an earlier run of ``elmlff stack`` whose data are among these: its test structures
    stay test structures, and its validation structures stay validation structures.  The settings of that run hold where
    no others are given (`elmlff_core.settings.inheritance`).
    """

    train: str = "methane"
    test: str | None = None
    test_fraction: float = Field(0.2, gt=0, lt=1)
    valid_fraction: float = Field(0.1, gt=0, lt=1)
    split: SplitMethod = "random"
    split_seed: int = Field(0, ge=0)
    energy_key: str | None = None
    forces_key: str | None = None
    check_units: bool = True
    earlier_run: str | None = Field(None, min_length=1)


class ModelConfig(Section):
    """The settings of one base model: its adapter, its checkpoint (trained if none is given) and the adapter's options.

    A model with the name of a preset starts from the preset.  `trust` allows unpickling of the checkpoint, which can
    run any code in it.

    With `python` the model runs in a worker process.  The value is the path or the name of another interpreter,
    "env:NAME" for an environment of ``elmlff env``, or "self" for the current one.  A worker that does not load, or
    does not answer a batch, within `timeout` seconds is killed.  `threads` is the number of threads of the worker's
    numerical libraries, by default that of this process.

    With `descriptors` the model also gives descriptors of atoms, which the meta-model `egat` sees beside its forces.
    """

    adapter: str = ""
    checkpoint: Path | None = None
    trust: bool = False
    python: str | None = Field(None, min_length=1)
    timeout: float = Field(600.0, gt=0)
    threads: int | None = Field(None, ge=1)
    descriptors: bool | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("checkpoint")
    @classmethod
    def _home_of_checkpoint(cls, checkpoint: Path | None) -> Path | None:
        return None if checkpoint is None else Path(os.path.expanduser(checkpoint))

    @field_validator("python")
    @classmethod
    def _home_of_interpreter(cls, python: str | None) -> str | None:
        return None if python is None else os.path.expanduser(python)


PAPER_TRAINING: dict[str, Any] = {
    "batch_size": 256,
    "learning_rate": 1e-3,
    "loss": "mse",
    "averaging": 0.0,
    "energy_weight": 0.0,
    "stress_weight": 0.0,
    "gradient_clip": 0.0,
}


def of_budget(budgets: Mapping[Any, Mapping[str, Any]], budget: Budget) -> Mapping[str, Any]:
    """Return the options of `budget`; those of ``quick`` if there are none of ``long``."""
    return budgets.get(budget, budgets.get("quick", {}) if budget == "long" else {})


class TrainingConfig(Section):
    """The training settings of neural meta-models; closed-form meta-models ignore them.

    A value of None is replaced by the budget's (`epochs`) or the meta-model's own default (all others).  Training stops
    early after `patience` epochs without a lower validation error.

    Attributes
    ----------
    batch_size : structures
    learning_rate : the highest learning rate
    loss : ``mse``, the mean squared error of force components, or ``norm``, the mean norm of the force errors, which
        gives less weight to frames with large errors
    averaging : decay of the moving average of weights that is validated and kept; 0 keeps the weights themselves
    energy_weight : weight of the energy error in the loss, for meta-models that learn an energy
    stress_weight : weight of the stress error in the loss, for meta-models that learn a stress; structures without a
        stress label do not count
    gradient_clip : the largest norm of a gradient, in units of the mean norm of the last hundred; longer ones are
        scaled down to it.  0 leaves them as they are
    device : ``auto`` uses a CUDA GPU if there is one
    devices : number of GPUs, or of processes on the CPU, among which each batch is divided; the steps stay the same
    precision : ``bfloat16`` multiplies matrices in that precision and keeps weights in float32; for GPUs
    fused : whether the optimiser updates all weights in one kernel; ``auto`` does so on a GPU
    """

    epochs: int | None = Field(None, ge=0)
    batch_size: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0)
    loss: Literal["mse", "norm"] | None = None
    averaging: float | None = Field(None, ge=0, lt=1)
    energy_weight: float | None = Field(None, ge=0)
    stress_weight: float | None = Field(None, ge=0)
    gradient_clip: float | None = Field(None, ge=0)
    warmup_fraction: float = Field(0.05, ge=0, lt=1)
    patience: int | None = Field(None, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = Field(1, ge=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    fused: bool | Literal["auto"] = "auto"

    def with_defaults(self, defaults: Mapping[str, Any]) -> TrainingConfig:
        """Replace values of None by `defaults`, those of a meta-model, and where it has none by the paper's."""
        filled = {**PAPER_TRAINING, **defaults}
        return self.model_copy(update={key: value for key, value in filled.items() if getattr(self, key) is None})


class JobConfig(Section):
    """One job of a queue, for the executors ``dask-slurm``, ``dask-pbs`` and ``dask-lsf``.

    What is None is left to dask-jobqueue, which has a file of settings of its own for a whole cluster.

    Attributes
    ----------
    queue : the queue, or partition, to which jobs are submitted
    account : what pays for the jobs: the account, or project
    walltime : the longest time of a job, in the form that the queue expects, such as ``04:00:00``
    cores : cores of a job
    memory : memory of a job, such as ``8GB``
    workers : worker processes of a job, which share its cores
    directives : further options of the queue, each without the prefix of its line, such as ``--gres=gpu:1``
    lines : lines of the job script before the workers start, such as ``module load cuda``
    """

    queue: str | None = Field(None, min_length=1)
    account: str | None = Field(None, min_length=1)
    walltime: str | None = Field(None, min_length=1)
    cores: int = Field(1, ge=1)
    memory: str = Field("4GB", min_length=1)
    workers: int = Field(1, ge=1)
    directives: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _every_worker_has_a_core(self) -> Self:
        if self.workers > self.cores:
            raise ValueError(f"{self.workers} workers of a job share {self.cores} of its cores: ask for more cores")
        return self


class ResourcesConfig(Section):
    """Where long steps run; results do not depend on it.

    Attributes
    ----------
    executor : a name of `elmlff_core.execution.placement.NAMES`, or ``module:function``, a function of one's own
    workers : number of worker processes in all; None for one on each GPU of this machine, or on each core if there are
        none, or for one job of a queue
    address : address of a Dask scheduler that is running, or its scheduler file, for the executor ``dask``
    job : a job of a queue
    """

    executor: str = Field("processes", min_length=1)
    workers: int | None = Field(None, ge=1)
    address: str | None = Field(None, min_length=1)
    job: JobConfig = JobConfig()


class Config(Section):
    """All settings of a run.

    `seed` sets initial weights and batches.  Trained meta-models are fitted once for each of `seeds` consecutive seeds.
    `geometry_only` also fits meta-models that see the geometry without base models.  With `average` the mean of these
    fits is a meta-model too: over seeds, over fits with and without base models, and over several meta-models.  `folds`
    retrains the base models with one fold of the training structures left out at a time, for out-of-fold features; with
    few structures the meta-model ``auto`` does so by itself.  `descriptors` asks all base models that have them for
    descriptors of atoms, but for those whose own table says otherwise.

    `meta` names one or several meta-models, as ``name = "linear,gat"`` or a list of names.  For one meta-model, the
    other keys are its options; for several, they are tables of options under their names.  ``auto`` is the default:
    by the amount of data and the elements, it chooses among some by validation structures (`elmlff_core.fits.auto`).

    `base_models` names the base models.  It is empty if the user names none; `with_base_models` then fills it in.
    """

    budget: Budget = "quick"
    seed: int = Field(0, ge=0, lt=N_SEEDS)
    geometry_only: bool = False
    seeds: int = Field(1, ge=1)
    average: bool = False
    folds: int | None = Field(None, ge=2)
    descriptors: bool = False
    data: DataConfig = DataConfig()
    models: dict[str, ModelConfig] = Field(default_factory=dict)
    base_models: tuple[str, ...] = ()
    meta: dict[str, Any] = Field(default_factory=lambda: {"name": DEFAULT_META})
    training: TrainingConfig = TrainingConfig()
    resources: ResourcesConfig = ResourcesConfig()

    @field_validator("models")
    @classmethod
    def _names_can_be_folders(cls, models: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
        for name in models:
            if not MODEL_NAME.fullmatch(name):
                raise ValueError(f"'{name}' cannot name a model: use letters, digits, '_', '-' and '.'")
        return models

    @field_validator("base_models")
    @classmethod
    def _names_are_distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("name at least one model")
        if len(set(names)) < len(names):
            raise ValueError(f"a model is named twice: {', '.join(names)}")
        for name in names:
            if not MODEL_NAME.fullmatch(name):
                raise ValueError(f"'{name}' cannot name a model: use letters, digits, '_', '-' and '.'")
        return names

    @field_validator("meta")
    @classmethod
    def _meta_is_named(cls, meta: dict[str, Any]) -> dict[str, Any]:
        names = _names(meta.get("name", DEFAULT_META))
        if not names:
            raise ValueError("name at least one meta-model")
        if len(set(names)) < len(names):
            raise ValueError(f"a meta-model is named twice: {', '.join(names)}")
        return meta

    @model_validator(mode="after")
    def _seeds_are_in_range(self) -> Self:
        if self.seed + self.seeds > N_SEEDS:
            raise ValueError(
                f"seed {self.seed} and the {self.seeds} from it on go beyond {N_SEEDS - 1}: take a lower seed"
            )
        return self

    @property
    def meta_names(self) -> tuple[str, ...]:
        """Names of the meta-models, in the user's order."""
        return _names(self.meta.get("name", DEFAULT_META))

    def of_results(self) -> dict[str, Any]:
        """Return, as plain data, the settings on which results depend: all but where things are computed or lie."""
        elsewhere: Any = {"resources": True, "training": {"devices"}, "data": {"earlier_run"}}
        return self.model_dump(mode="json", exclude=elsewhere)

    def digest(self) -> str:
        """Return a hex digest of the settings: runs with the same digest are the same run."""
        text = json.dumps(self.of_results(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def without_seeds(config: Config) -> Config:
    """Return the settings with one seed, because the folder of one seed is the same for any number of seeds."""
    return config.model_copy(update={"seeds": 1})


def _names(value: Any) -> tuple[str, ...]:
    """Return the names in a list, or in a string separated by commas."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError("'name' must be a name, names separated by commas, or a list of names")
    return tuple(name.strip() for name in names if name.strip())
