"""Named models: from a name in the settings to a base model that predicts, which is trained first if necessary."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from elmlff_core.contracts.hookspecs import ForceFieldPlugin, LoadRequest, Preset
from elmlff_core.contracts.protocols import BaseForceField, TrainingLength
from elmlff_core.environments.folder import PREFIX, SELF, interpreter_of
from elmlff_core.errors import ConfigError, ForceFieldError, did_you_mean
from elmlff_core.plugins.registry import registry, require
from elmlff_core.settings.config import Config, ModelConfig, of_budget
from elmlff_core.settings.reading import validated
from elmlff_core.worker.client import WorkerForceField, WorkerSettings
from elmlff_core.worker.process import find_interpreter

DEFAULT_MODELS_FOLDER = Path("elmlff-models")


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
            found = self.force_field.fingerprint
        else:
            found = self.plugin.fingerprint(self.request)
        if not self.config.descriptors:
            return found
        return hashlib.sha256(f"{found} with descriptors".encode()).hexdigest()  # its predictions have more in them

    @property
    def request(self) -> LoadRequest:
        """The request that its adapter loads."""
        # Checkpoints that elmlff trained itself hold no pickle, so no trust is needed.
        return LoadRequest(self.name, self.checkpoint, self.options, self.config.trust, bool(self.config.descriptors))

    def __deepcopy__(self, memo: dict[int, Any]) -> NamedModel:
        # Loaded again when the copy predicts: the objects of backends and workers cannot be copied.
        return replace(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: no object of a backend, no worker, the adapter by its name; a known fingerprint."""
        kept = {field.name for field in fields(self)} - {"plugin"} | {"fingerprint"}
        return {name: value for name, value in self.__dict__.items() if name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, plugin=registry().force_field(state["config"].adapter))

    def with_descriptors(self, asked: bool) -> NamedModel:
        """Return the same model, asked for descriptors too or not; they are there only if its adapter `describes`."""
        return replace(self, config=self.config.model_copy(update={"descriptors": asked}))

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
        options = {**preset.options, **of_budget(preset.budgets, config.budget), **given.options}
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
        settings = ModelConfig(adapter=name)
    else:
        settings = model_settings(config, name)
    if settings.descriptors is None and config.descriptors and found.force_field(settings.adapter).describes:
        settings = settings.model_copy(update={"descriptors": True})
    return named_model(name, settings)


def named_model(name: str, settings: ModelConfig) -> NamedModel:
    """Make a named model from its settings; errors as in `resolve_model`."""
    plugin = registry().force_field(settings.adapter)
    _require_here(plugin, settings)
    options = validated(plugin.options, settings.options, f"the options of model '{name}'")
    if settings.checkpoint is not None and not settings.checkpoint.exists():
        raise ForceFieldError(f"model '{name}': there is no checkpoint {settings.checkpoint}")
    if settings.descriptors and not plugin.describes:
        raise ConfigError(
            f"model '{name}': the adapter '{plugin.name}' has no descriptors: remove descriptors under [models.{name}]"
        )
    if settings.python is not None and find_interpreter(interpreter_of(settings.python, name)) is None:
        raise ForceFieldError(f"model '{name}': there is no Python interpreter {settings.python}")
    return NamedModel(name, settings, plugin, options, settings.checkpoint)


def _require_here(plugin: ForceFieldPlugin, settings: ModelConfig) -> None:
    """Check the requirements of the adapter, unless the model runs under another interpreter, which must have them."""
    if settings.python in (None, SELF):
        require(plugin)
