"""Named models: from a name in the settings to a base model that predicts, which is trained first if necessary."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

from ase import Atoms

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.hookspecs import ForceFieldPlugin, LoadRequest, Preset
from elmlff_core.contracts.progress import Progress, ProgressCallback
from elmlff_core.contracts.protocols import BaseForceField, TrainingLength, TrainingRequest
from elmlff_core.data.content import SEEN_FILE, SeenStructures
from elmlff_core.environments.folder import PREFIX, SELF, interpreter_of
from elmlff_core.errors import ConfigError, ElmlffError, ForceFieldError, did_you_mean
from elmlff_core.execution.rates import Kind
from elmlff_core.files import read_record, refuse_links, sha256_of, write_record
from elmlff_core.locks import Timeout, locked
from elmlff_core.plugins.registry import registry, require
from elmlff_core.settings.config import Config, ModelConfig
from elmlff_core.settings.reading import validated
from elmlff_core.worker.client import WorkerForceField, WorkerSettings
from elmlff_core.worker.process import find_interpreter

TRAINED, LOCK = "trained.json", "training.lock"
DEFAULT_MODELS_FOLDER = Path("elmlff-models")


class TrainedRecord(TypedDict):
    """What later commands read of ``trained.json``: the checkpoint, as a path in its folder, and its SHA-256."""

    checkpoint: str
    checkpoint_sha256: str
    adapter: str
    options: dict[str, Any]


@dataclass
class NamedModel:
    """One configured base force field.

    Attributes
    ----------
    name : name in the settings
    config : its settings
    plugin : its adapter
    options : validated options of the adapter
    checkpoint : file that it loads; None for an adapter without checkpoints, or before training
    """

    name: str
    config: ModelConfig
    plugin: ForceFieldPlugin
    options: Any
    checkpoint: Path | None = None

    @property
    def needs_training(self) -> bool:
        """Whether it can be trained and has no checkpoint yet."""
        return self.checkpoint is None and self.plugin.trainer is not None

    @property
    def in_worker(self) -> bool:
        """Whether it predicts in a process of its own."""
        return self.config.python is not None

    @cached_property
    def force_field(self) -> BaseForceField:
        """The loaded base force field, in a worker process where the settings name an interpreter."""
        _require_here(self.plugin, self.config)
        if self.config.python is None:
            return self.plugin.load(self.request)
        python = interpreter_of(self.config.python, self.name)
        settings = WorkerSettings(python, self.config.timeout, self.config.threads)
        return WorkerForceField(self.request, self.plugin, settings)

    @property
    def is_loaded(self) -> bool:
        """Whether the force field has been loaded already."""
        return "force_field" in self.__dict__

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the force field, which is loaded only if the adapter cannot give it without loading."""
        # In a worker the environment is part of the fingerprint, and only the worker knows it.
        if self.plugin.fingerprint is None or self.in_worker:
            return self.force_field.fingerprint
        return self.plugin.fingerprint(self.request)

    @property
    def request(self) -> LoadRequest:
        """The request that its adapter loads."""
        # Checkpoints that elmlff trained itself hold no pickle, so no trust is needed.
        return LoadRequest(self.name, self.checkpoint, self.options, self.config.trust)

    def __deepcopy__(self, memo: dict[int, Any]) -> NamedModel:
        # Loaded again when the copy predicts: the objects of backends and workers cannot be copied.
        return replace(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: no object of a backend, no worker, and the adapter by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "plugin"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, plugin=registry().force_field(state["config"].adapter))

    def close(self) -> None:
        """End its worker, if it has one; the next prediction starts a new worker."""
        if self.in_worker and self.is_loaded and isinstance(self.force_field, WorkerForceField):
            self.force_field.close()

    def length(self, n_structures: int) -> TrainingLength:
        """Return the steps and epochs of its training on `n_structures`."""
        assert self.plugin.trainer is not None
        return self.plugin.trainer.length(self.options, n_structures)


def default_base_models() -> tuple[str, ...]:
    """Return the names of the presets that are stacked if the user names no base model, in their order."""
    return tuple(name for name, (preset, _) in registry().presets.items() if preset.default)


def with_base_models(config: Config) -> Config:
    """Return `config` with the names of its base models filled in if the user named none.

    If the settings define models that are not presets, all models in the settings are stacked, in the order of the
    file.  If they only change options of presets, the default presets are stacked.

    Raises
    ------
    ConfigError
        No base model is named, and no plugin offers a preset that is stacked by default.
    """
    if config.base_models:
        return config
    has_own = any(_preset_for(name, model) is None or model.checkpoint for name, model in config.models.items())
    names = tuple(config.models) if has_own else default_base_models()
    if not names:
        raise ConfigError("no base model is named, and no plugin offers a default one: name some with --models")
    return config.model_copy(update={"base_models": names})


def _preset_for(name: str, given: ModelConfig) -> Preset | None:
    """Return the preset on which the model `name` of the settings is based; None if it is based on no preset."""
    preset, _ = registry().presets.get(name, (None, None))
    return preset if preset is not None and given.adapter in ("", preset.adapter) else None


def model_settings(config: Config, name: str) -> ModelConfig:
    """Return the settings of the model `name`, from `config`, a preset or both, with the options of the budget.

    Raises
    ------
    ConfigError
        There is no such model, or no adapter is named for it.
    PluginError
        The preset of that name cannot be used.
    """
    presets = registry().presets
    if name not in config.models and name not in presets:
        registry().refuse_failed("preset", name)
        raise ConfigError(f"no model is called '{name}'{did_you_mean(name, [*config.models, *presets])}")
    given = config.models.get(name, ModelConfig())
    if (preset := _preset_for(name, given)) is not None:
        options = {**preset.options, **preset.budgets.get(config.budget, {}), **given.options}
        python = f"{PREFIX}{preset.environment}" if preset.environment and given.python is None else given.python
        return given.model_copy(update={"adapter": preset.adapter, "options": options, "python": python})
    if not given.adapter:
        raise ConfigError(f"'models.{name}.adapter' is missing: name the adapter, see `elmlff plugins`")
    return given


def resolve_model(config: Config, name: str) -> NamedModel:
    """Return the model called `name`; its adapter is installed and its options are valid.

    A name that is neither in the settings nor a preset may be the name of an adapter.  The model then has the default
    options of that adapter.

    Raises
    ------
    ConfigError, PluginError
        The name or a key is unknown, or the adapter is not installed; the message then gives the line that installs it.
    """
    found = registry()
    if name not in config.models and name not in found.presets and name in found.force_fields:
        return named_model(name, ModelConfig(adapter=name))
    return named_model(name, model_settings(config, name))


def named_model(name: str, settings: ModelConfig) -> NamedModel:
    """Make a named model from its settings; errors as in `resolve_model`."""
    plugin = registry().force_field(settings.adapter)
    _require_here(plugin, settings)
    options = validated(plugin.options, settings.options, f"the options of model '{name}'")
    if settings.checkpoint is not None and not settings.checkpoint.exists():
        raise ForceFieldError(f"model '{name}': there is no checkpoint {settings.checkpoint}")
    if settings.python is not None and find_interpreter(interpreter_of(settings.python, name)) is None:
        raise ForceFieldError(f"model '{name}': there is no Python interpreter {settings.python}")
    return NamedModel(name, settings, plugin, options, settings.checkpoint)


def _require_here(plugin: ForceFieldPlugin, settings: ModelConfig) -> None:
    """Check the requirements of the adapter, unless the model runs under another interpreter, which must have them."""
    if settings.python in (None, SELF):
        require(plugin)


def training_directory(model: NamedModel, train: Dataset, valid: Dataset, seed: int, root: Path) -> Path:
    """Return the folder of `model` trained on these data with these options; any change gives another folder."""
    key = json.dumps(
        [model.config.adapter, model.options.model_dump(mode="json"), train.labels_fingerprint,
         valid.labels_fingerprint, seed],
        sort_keys=True,
    )  # fmt: skip
    return root.expanduser() / f"{model.name}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"


def trained_checkpoint(directory: Path) -> Path | None:
    """Return the checkpoint of a finished training in `directory`, or None."""
    record = directory / TRAINED
    if not record.exists():
        return None
    remedy = f"remove the folder {directory} to train again"
    found = read_record(record, TrainedRecord, remedy)
    checkpoint = directory / found["checkpoint"]
    if not checkpoint.is_file():
        raise ForceFieldError(f"{record} names {checkpoint}, which is not there: {remedy}")
    if sha256_of(checkpoint) != found["checkpoint_sha256"]:
        raise ForceFieldError(f"{checkpoint} has changed since its training: {remedy}")
    return checkpoint


def seen_in_training(model: NamedModel) -> SeenStructures | None:
    """Return the structures of the training of `model`, if elmlff trained its checkpoint, which is still in its place.

    None if that is not known: the model was trained elsewhere or by an earlier elmlff, or its checkpoint was copied.
    """
    if model.checkpoint is None:
        return None
    checkpoint = model.checkpoint.resolve()
    for directory in list(checkpoint.parents)[:3]:
        with suppress(ElmlffError):  # a file of that name may be of somebody else: then there is no record
            if trained_checkpoint(directory) == checkpoint:
                return SeenStructures.load(directory / SEEN_FILE)
    return None


def kind_of(model: NamedModel, step: str) -> Kind:
    """Return the kind of step that ``training`` or ``predicting`` with `model` is, of which rates are kept."""
    return Kind(step, model.plugin.name, model.options.model_dump(mode="json"))


def training_amount(model: NamedModel, structures: Sequence[Atoms]) -> float:
    """Return the amount of work of a training, to which its time is proportional: steps times atoms of a structure."""
    return model.length(len(structures)).steps * sum(map(len, structures)) / len(structures)


def train_model(
    model: NamedModel, train: Dataset, valid: Dataset, seed: int, directory: Path, progress: ProgressCallback
) -> NamedModel:
    """Return `model` with the checkpoint of its training in `directory`; train it unless that training is finished.

    If another process is running the same training, wait for it: a scheduler may give the task of a worker that it lost
    to another one, while the first still works.

    Raises
    ------
    ElmlffError
        The training failed, or its folder cannot be written.
    """
    assert model.plugin.trainer is not None
    require(model.plugin)
    directory.mkdir(parents=True, exist_ok=True)
    refuse_links(directory)
    is_new = all(path.name == LOCK for path in directory.iterdir())
    waiting = Progress(0, model.length(len(train)).steps, "waiting for another run that trains it")
    try:
        with _turn(directory / LOCK, lambda: progress(waiting)) as alone:
            if (checkpoint := trained_checkpoint(directory)) is None:
                started = time.perf_counter()
                place = directory if alone else _own_folder(directory)
                request = TrainingRequest(model.name, train, valid, model.options, place, seed, progress)
                checkpoint = model.plugin.trainer.train(request)
                SeenStructures.of(train.structures, valid.structures).save(directory / SEEN_FILE)
                seconds = time.perf_counter() - started
                if is_new:  # and not the last part of a training that was interrupted
                    kind_of(model, "training").note(seconds, training_amount(model, train.structures))
                _record(model, len(train), checkpoint, directory, seconds)
    except OSError as error:  # the files of the trainers themselves, on a full disk for example
        raise ElmlffError(f"cannot train '{model.name}' in {directory}: {error.strerror or error}") from error
    return replace(model, checkpoint=checkpoint)


@contextmanager
def _turn(path: Path, waits: Callable[[], None]) -> Iterator[bool]:
    """Hold the lock at `path`, as `locked` does; call `waits` before waiting for another process that holds it."""
    with ExitStack() as held:
        try:
            alone = held.enter_context(locked(path, wait=False))
        except Timeout:
            waits()
            alone = held.enter_context(locked(path))
        yield alone


def _own_folder(directory: Path) -> Path:
    """Make a folder in `directory` for one training, where no lock keeps others from the same training.

    Trainers write into their files as they go.  Of several trainings the last one to finish is recorded, and the
    checkpoints of the others stay what they are.
    """
    folder = directory / f"training-{secrets.token_hex(4)}"
    folder.mkdir()
    return folder


def _record(model: NamedModel, n_structures: int, checkpoint: Path, directory: Path, seconds: float) -> None:
    length = model.length(n_structures)
    record = {
        "checkpoint": str(checkpoint.relative_to(directory)),
        "checkpoint_sha256": sha256_of(checkpoint),
        "adapter": model.config.adapter,
        "options": model.options.model_dump(mode="json"),
        "structures": n_structures,
        "steps": length.steps,
        "epochs": length.epochs,
        "seconds": round(seconds, 1),
    }
    write_record(directory / TRAINED, record, indent=1)
