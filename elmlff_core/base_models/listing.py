"""List named models without loading them, from the settings, the presets and the results of earlier trainings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from elmlff_core.base_models.named import NamedModel, model_settings, resolve_model, with_base_models
from elmlff_core.base_models.training import TRAINED, TrainedRecord, trained_checkpoint
from elmlff_core.environments.folder import environment_named, is_ready
from elmlff_core.errors import ElmlffError
from elmlff_core.files import read_record
from elmlff_core.plugins.registry import registry
from elmlff_core.plugins.toolkit import by_atomic_number
from elmlff_core.settings.config import Config
from elmlff_core.worker.client import WorkerForceField

State = Literal["checkpoint", "trained", "not trained", "ready", "no environment", "problem"]


@dataclass
class ModelEntry:
    """One named model in the list of `elmlff models`.

    Attributes
    ----------
    name : name in the settings or of a preset
    source : ``elmlff.toml`` or ``preset``
    adapter : its adapter
    state : ``checkpoint`` if the settings give one, ``trained`` or ``not trained`` if elmlff trains it, ``ready`` if it
        needs neither, ``no environment`` if its environment has to be made, ``problem`` if it cannot be used
    checkpoints : files, the newest first; there are several if it was trained with these options on several datasets
    elements : chemical symbols; None if they are not known before it is loaded, or if it takes any element
    cutoff : Å; None if it is not known before it is loaded, or if the model has no cutoff
    python : its interpreter, "" for the interpreter of this process
    in_stack : whether `elmlff stack` would use it
    summary, environment, level_of_theory, licence, download : of the preset, or ""
    citation : papers of the adapter and of the preset, as BibTeX
    problem : one line on why it cannot be used, or ""
    """

    name: str
    source: str
    adapter: str
    state: State
    checkpoints: list[str]
    elements: list[str] | None
    cutoff: float | None
    python: str
    in_stack: bool
    summary: str
    problem: str = ""
    environment: str = ""
    level_of_theory: str = ""
    licence: str = ""
    download: str = ""
    citation: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def list_models(config: Config, models_folder: Path, load: bool = False, only: str | None = None) -> list[ModelEntry]:
    """List the models of the stack, of the settings and of the presets, in that order.

    Parameters
    ----------
    config : the settings
    models_folder : folder of trained models
    load : whether to load the models that have a checkpoint, to find their elements and cutoff and to test them
    only : list only the model of this name; ConfigError, with the nearest name, if there is no such model
    """
    config = with_base_models(config)
    names = dict.fromkeys([*config.base_models, *config.models, *registry().presets]) if only is None else {only: None}
    if only is not None:
        model_settings(config, only)
    return [_entry(config, name, models_folder, load) for name in names]


def _entry(config: Config, name: str, models_folder: Path, load: bool) -> ModelEntry:
    preset, _ = registry().presets.get(name, (None, None))
    entry = ModelEntry(
        name=name,
        source="elmlff.toml" if name in config.models else "preset",
        adapter=preset.adapter if preset else "",
        state="problem",
        checkpoints=[],
        elements=None,
        cutoff=None,
        python="",
        in_stack=name in config.base_models,
        summary=preset.summary if preset and name not in config.models else "",
    )
    if preset is not None and name not in config.models:
        entry.elements = _elements(preset.elements)
        entry.environment, entry.download = preset.environment, preset.download
        entry.level_of_theory, entry.licence = preset.level_of_theory, preset.licence
        adapter = registry().force_fields.get(preset.adapter)
        entry.citation = (*(adapter[0].citation if adapter else ()), *preset.citation)
    try:
        settings = model_settings(config, name)
        entry.adapter, entry.python = settings.adapter, settings.python or ""
        environment = environment_named(settings.python)
        if environment in registry().environments and not is_ready(environment):
            entry.state = "no environment"
            entry.problem = f"make it with `elmlff env create {environment}`"
            return entry
        model = resolve_model(config, name)
        _fill_in(entry, model, models_folder)
        if load and entry.state != "not trained":
            _load(entry, model)
    except ElmlffError as error:
        entry.state, entry.problem = "problem", " ".join(str(error).split())
    return entry


def _fill_in(entry: ModelEntry, model: NamedModel, models_folder: Path) -> None:
    entry.elements = _elements(getattr(model.options, "elements", None)) or entry.elements
    if model.checkpoint is not None:
        # The architecture, including the cutoff, comes from the checkpoint and not from the options.
        entry.state, entry.checkpoints = "checkpoint", [str(model.checkpoint)]
        return
    entry.cutoff = _cutoff(model)
    if model.plugin.trainer is None:
        entry.state = "ready"
    else:
        entry.checkpoints = [str(path) for path in _trainings(model, models_folder)]
        entry.state = "trained" if entry.checkpoints else "not trained"


def _cutoff(model: NamedModel) -> float | None:
    value = getattr(model.options, model.plugin.cutoff_option, None)
    return float(value) if isinstance(value, int | float) else None


def _elements(symbols: Any) -> list[str] | None:
    return by_atomic_number(symbols) if symbols else None


def _trainings(model: NamedModel, models_folder: Path) -> Iterator[Path]:
    """Yield checkpoints of finished trainings with the options of `model`, on any data, the newest first."""
    wanted = {"adapter": model.config.adapter, "options": model.options.model_dump(mode="json")}
    own_name = re.compile(re.escape(model.name) + "-[0-9a-f]{10}")  # "dp1" must not match "dp1-large"
    records = [path for path in models_folder.glob(f"*/{TRAINED}") if own_name.fullmatch(path.parent.name)]
    for path in sorted(records, key=lambda path: path.stat().st_mtime, reverse=True):
        record = read_record(path, TrainedRecord, f"remove the folder {path.parent} to train again")
        if all(record[key] == value for key, value in wanted.items()):  # type: ignore[literal-required]
            checkpoint = trained_checkpoint(path.parent)
            assert checkpoint is not None
            yield checkpoint


def _load(entry: ModelEntry, model: NamedModel) -> None:
    if model.checkpoint is None and entry.checkpoints:
        model = replace(model, checkpoint=Path(entry.checkpoints[0]))
    try:
        force_field = model.force_field
        if isinstance(force_field, WorkerForceField):
            force_field.load()  # although it may be remembered what it is
        entry.elements = _elements(force_field.elements)
        entry.cutoff = force_field.cutoff
    except ElmlffError:
        raise
    except Exception as error:  # a backend may raise any exception; the other models must still be listed
        raise ElmlffError(f"cannot be loaded: {type(error).__name__}: {error}") from error
    finally:
        model.close()
