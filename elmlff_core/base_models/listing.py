"""What is known of named models without loading them: settings, presets, and what past trainings left."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from elmlff_core.base_models.named import (
    TRAINED,
    NamedModel,
    model_settings,
    resolve_model,
    trained_checkpoint,
    with_base_models,
)
from elmlff_core.errors import ElmlffError
from elmlff_core.plugins.registry import registry
from elmlff_core.settings.config import Config

State = Literal["checkpoint", "trained", "not trained", "ready", "problem"]


@dataclass
class ModelEntry:
    """One named model, as `elmlff models` lists it.

    Attributes
    ----------
    name : the user's, or a preset's
    source : ``elmlff.toml`` or ``preset``
    adapter : its adapter
    state : ``checkpoint`` where the settings give one, ``trained`` or ``not trained`` where elmlff trains it, ``ready``
        where it needs neither, ``problem`` where it cannot be used
    checkpoints : files, the newest first where there are several trainings of these options, for several data
    elements : chemical symbols, None where they are not known before it is loaded or where it takes any
    cutoff : Å, None where it is not known before it is loaded or where it has none
    python : its interpreter, "" for this one
    in_stack : whether `elmlff stack` would use it
    summary : of the preset, or ""
    problem : why it cannot be used, one line
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

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def list_models(config: Config, models_folder: Path, load: bool = False, only: str | None = None) -> list[ModelEntry]:
    """Every model of the stack, of the settings and of the presets, in that order.

    Parameters
    ----------
    config : the settings
    models_folder : where trained models live
    load : load those with a checkpoint, to tell their elements and cutoff and whether they load at all
    only : one name; ConfigError, with the nearest name, where no model is called so
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
    try:
        settings = model_settings(config, name)
        entry.adapter, entry.python = settings.adapter, settings.python or ""
        model = resolve_model(config, name)
        _fill_in(entry, model, models_folder)
        if load and entry.state != "not trained":
            _load(entry, model)
    except ElmlffError as error:
        entry.state, entry.problem = "problem", " ".join(str(error).split())
    return entry


def _fill_in(entry: ModelEntry, model: NamedModel, models_folder: Path) -> None:
    entry.elements = _elements(getattr(model.options, "elements", None))
    if model.checkpoint is not None:
        # Its architecture, cutoff included, is the checkpoint's own, whatever the options say.
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
    return sorted(symbols) if symbols else None


def _trainings(model: NamedModel, models_folder: Path) -> Iterator[Path]:
    """Checkpoints of finished trainings with the options of `model`, for whatever data, the newest first."""
    wanted = {"adapter": model.config.adapter, "options": model.options.model_dump(mode="json")}
    own_name = re.compile(re.escape(model.name) + "-[0-9a-f]{10}")  # not that of "dp1-large" for "dp1"
    records = [path for path in models_folder.glob(f"*/{TRAINED}") if own_name.fullmatch(path.parent.name)]
    for path in sorted(records, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            record = json.loads(path.read_text())
            checkpoint = trained_checkpoint(path.parent)
        except (OSError, ValueError, KeyError) as error:
            raise ElmlffError(f"cannot read {path}: {error}; remove its folder to train again") from error
        same = all(record.get(key) == value for key, value in wanted.items())
        if same and checkpoint is not None and checkpoint.exists():
            yield checkpoint


def _load(entry: ModelEntry, model: NamedModel) -> None:
    if model.checkpoint is None and entry.checkpoints:
        model = replace(model, checkpoint=Path(entry.checkpoints[0]))
    try:
        force_field = model.force_field
        entry.elements = _elements(force_field.elements)
        entry.cutoff = force_field.cutoff
    except ElmlffError:
        raise
    except Exception as error:  # a backend may raise anything; the other models are listed all the same
        raise ElmlffError(f"cannot be loaded: {type(error).__name__}: {error}") from error
    finally:
        model.close()
