"""elmlff.toml: what a run is made of, validated."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

DEFAULT_FILE = Path("elmlff.toml")
DEFAULT_META = "egat"
MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # names of folders are made of them
Budget = Literal["quick", "paper"]
SplitMethod = Literal["random", "blocks", "clusters"]


class Section(BaseModel):
    """A table of elmlff.toml: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """Where structures and labels come from, and how they are split.

    `train` and `test` are files, deepmd/npy folders or names of embedded examples.  Without `test`, `test_fraction` of
    the training data is held out.  Validation is always cut from what remains.
    """

    train: str = "methane"
    test: str | None = None
    test_fraction: float = Field(0.2, gt=0, lt=1)
    valid_fraction: float = Field(0.1, gt=0, lt=1)
    split: SplitMethod = "random"
    split_seed: int = Field(0, ge=0)
    energy_key: str | None = None
    forces_key: str | None = None


class ModelConfig(Section):
    """One named base force field: adapter, checkpoint (trained where there is none) and the adapter's options.

    A model with the name of a preset starts from the preset.  `trust` allows unpickling of a checkpoint, which can run
    any code its author put there.

    `python` runs the model in a worker process: under another interpreter, by path or name, or "self", under this one.
    A worker that does not load or answer a batch within `timeout` seconds is given up.  `threads` are those of the
    worker's numerical libraries; by default as many as here.
    """

    adapter: str = ""
    checkpoint: Path | None = None
    trust: bool = False
    python: str | None = Field(None, min_length=1)
    timeout: float = Field(600.0, gt=0)
    threads: int | None = Field(None, ge=1)
    options: dict[str, Any] = Field(default_factory=dict)


PAPER_TRAINING: dict[str, Any] = {
    "batch_size": 256,
    "learning_rate": 1e-3,
    "loss": "mse",
    "averaging": 0.0,
    "energy_weight": 0.0,
}


class TrainingConfig(Section):
    """How a neural meta-model is trained; closed-form ones ignore it.

    What is None is chosen by the budget (`epochs`) or the meta-model (all else).  Training stops early after
    `patience` epochs without a better validation error.

    Attributes
    ----------
    batch_size : structures
    learning_rate : its highest value
    loss : ``mse``, the mean squared force component, or ``norm``, the mean norm of the force error, in which frames
        with large errors weigh less
    averaging : decay of the moving average of weights that is validated and kept; 0 takes the weights as they are
    energy_weight : share of the energy error in the loss of meta-models that learn an energy
    device : ``auto`` takes a CUDA GPU where there is one
    precision : ``bfloat16`` multiplies matrices in that precision and keeps weights in float32; for GPUs
    fused : whether the optimiser updates all weights in one kernel; ``auto``: on a GPU
    compile : whether torch.compile makes one program of the network, which takes about a minute and a C++ compiler.
        ``auto``: where the meta-model gains by it, and the training is long
    """

    epochs: int | None = Field(None, ge=0)
    batch_size: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0)
    loss: Literal["mse", "norm"] | None = None
    averaging: float | None = Field(None, ge=0, lt=1)
    energy_weight: float | None = Field(None, ge=0)
    warmup_fraction: float = Field(0.05, ge=0, lt=1)
    patience: int | None = Field(None, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    fused: bool | Literal["auto"] = "auto"
    compile: bool | Literal["auto"] = "auto"

    def with_defaults(self, defaults: Mapping[str, Any]) -> TrainingConfig:
        """The same with what is None taken from `defaults`, a meta-model's own, and then from the paper's."""
        filled = {**PAPER_TRAINING, **defaults}
        return self.model_copy(update={key: value for key, value in filled.items() if getattr(self, key) is None})


class Config(Section):
    """Everything a run is made of.

    `seed` is of initial weights and batches; trained meta-models are fitted with `seeds` of them, one after the other.
    `geometry_only` also fits each trained meta-model without base models.  `folds` retrains the base models on training
    structures minus one fold, for out-of-fold features.

    `meta` names one meta-model or several, ``name = "linear,gat"`` or a list of names.  The other keys are the options
    of the one, or tables of options under the names of several.

    `base_models` names the base models; empty where the user names none, for `with_base_models` to fill in.
    """

    budget: Budget = "quick"
    seed: int = Field(0, ge=0, lt=2**32)  # NumPy takes no larger one
    geometry_only: bool = False
    seeds: int = Field(1, ge=1)
    folds: int | None = Field(None, ge=2)
    data: DataConfig = DataConfig()
    models: dict[str, ModelConfig] = Field(default_factory=dict)
    base_models: tuple[str, ...] = ()
    meta: dict[str, Any] = Field(default_factory=lambda: {"name": DEFAULT_META})
    training: TrainingConfig = TrainingConfig()

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

    @property
    def meta_names(self) -> tuple[str, ...]:
        """Names of the meta-models, in the user's order."""
        return _names(self.meta.get("name", DEFAULT_META))

    def digest(self) -> str:
        """Hex digest of the settings: two runs with the same one are the same run."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def without_seeds(config: Config) -> Config:
    """The same with one seed: what is kept in a folder for each seed is the same run with any number of them."""
    return config.model_copy(update={"seeds": 1})


def _names(value: Any) -> tuple[str, ...]:
    """Names in a list, or in a string with commas between them."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("'name' is a name, names with commas between them, or a list of names")
    return tuple(part.strip() for part in parts if part.strip())
