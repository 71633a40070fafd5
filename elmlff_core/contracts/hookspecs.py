"""The whole extension surface: two hooks, each yielding typed records.

A plugin is a module named in the entry-point group ``elmlff`` that defines one or both hooks::

    from elmlff_core.contracts.hookspecs import ForceFieldPlugin, hookimpl

    @hookimpl
    def elmlff_force_fields():
        yield ForceFieldPlugin(name="mine", summary="...", options=Options, load=load)

It must import no backend at module level: `elmlff plugins` lists it without any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy
from pydantic import BaseModel, ConfigDict

from elmlff_core.contracts.protocols import BaseForceField, MetaModel, TrainableAdapter

PROJECT = "elmlff"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Options(BaseModel):
    """Base of an adapter's or meta-model's options: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class LoadRequest:
    """Everything an adapter needs to load one base force field.

    Attributes
    ----------
    name : the model's name
    checkpoint : the file to load, or None for adapters that need none (``ase``)
    options : the adapter's options model
    trust : whether the user allows unpickling of the checkpoint
    """

    name: str
    checkpoint: Path | None
    options: Any
    trust: bool = False


@dataclass(frozen=True)
class ForceFieldPlugin:
    """An adapter: the code that makes base force fields of one family.

    Attributes
    ----------
    name : of the adapter, as in ``adapter = "dp"``
    summary : one line
    options : pydantic model of its options (a subclass of `Options`)
    load : makes a base force field; imports the backend when called
    trainer : trains one, or None for adapters that only load
    fingerprint : the fingerprint of what `load` would make, without importing the backend: where all predictions are
        cached, nothing else of the base is needed.  None where the loaded one has to be asked
    requires : modules it needs.  Of a dotted name listings look for the package alone, without importing it;
        ``elmlff plugins --check`` and ``elmlff doctor`` import the whole, best what the adapter itself imports
    extra : the extra of the plugin's own package that installs them, as in ``pip install "elmlff[deepmd]"``, or ""
    standalone : module with a function ``load`` like the one here, for workers under interpreters without elmlff, or
        "" where the adapter needs elmlff.  It may import numpy, ase, its own package, `elmlff_core.errors` and
        `elmlff_core.contracts.prediction`, and runs under Python 3.9; it is given the options as plain attributes.
    """

    name: str
    summary: str
    options: type[Options]
    load: Callable[[LoadRequest], BaseForceField]
    trainer: TrainableAdapter | None = None
    fingerprint: Callable[[LoadRequest], str] | None = None
    requires: tuple[str, ...] = ()
    extra: str = ""
    standalone: str = ""


@dataclass(frozen=True)
class MetaModelPlugin:
    """A meta-model.

    Attributes
    ----------
    name : of the meta-model, as in ``--meta gat``
    summary : one line
    options : pydantic model of its options (a subclass of `Options`)
    make : the meta-model, not fitted, from validated options
    budgets : options that a budget (``quick``, ``paper``) means unless they are given
    trained : whether it is trained in epochs (and so has a training length) or in closed form
    training : what it wants of the training settings (`TrainingConfig`) that are not given, as ``{"batch_size": 8}``
    requires, extra : as for `ForceFieldPlugin`
    """

    name: str
    summary: str
    options: type[Options]
    make: Callable[[Any], MetaModel]
    budgets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trained: bool = False
    training: Mapping[str, Any] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    extra: str = ""


class HookSpecs:
    """The hooks of elmlff."""

    @hookspec
    def elmlff_force_fields(self) -> Iterable[ForceFieldPlugin]:
        """Adapters for families of base force fields."""
        return ()

    @hookspec
    def elmlff_meta_models(self) -> Iterable[MetaModelPlugin]:
        """Meta-models that learn from base predictions."""
        return ()
