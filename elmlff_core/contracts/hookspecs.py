"""The whole extension surface: four hooks, each yielding typed records.

A plugin is a module named in the entry-point group ``elmlff`` that defines one or more of the hooks::

    from elmlff_core.contracts.hookspecs import ForceFieldPlugin, hookimpl

    @hookimpl
    def elmlff_force_fields():
        yield ForceFieldPlugin(name="mine", summary="...", options=Options, load=load)

It must import no backend at module level: `elmlff plugins` lists it without any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    cutoff_option : name of the option that holds the cutoff in Å; listings show it where there is such an option
    thread_variables : environment variables whose product is the number of threads that its backend has at work at
        once, for ``elmlff doctor``
    runs : descriptions of the code that loading or using a request would run beside the adapter's own, such as a
        pickled checkpoint or a callable named in the options; empty where there is none.  It imports nothing.  None
        where the adapter cannot tell: its models in stacks of others then need the user's trust
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
    cutoff_option: str = "cutoff"
    thread_variables: tuple[str, ...] = ()
    runs: Callable[[LoadRequest], Sequence[str]] | None = None


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
    maskable : whether it can be fitted with base models hidden at random, as an amortised sweep does
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
    maskable: bool = False


@dataclass(frozen=True)
class Preset:
    """A base model that is configured already: naming it is enough to train and stack it.

    Attributes
    ----------
    name : of the model, as in ``--models dp1``
    adapter : name of the adapter, which may be that of another plugin
    summary : one line
    options : of the adapter; the architecture
    budgets : ``quick`` and ``paper``, each the options to lay over `options`: how long and how to train
    default : whether it is stacked where the user names no base model.  Think twice before you set it: who installs the
        plugin then stacks another set of base models than before
    order : its place in listings and among the default base models, lowest first; presets of the same order follow each
        other as they were registered
    """

    name: str
    adapter: str
    summary: str
    options: Mapping[str, Any]
    budgets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    default: bool = False
    order: int = 0


@dataclass(frozen=True)
class PackageClash:
    """Packages that cannot share an environment, or one that cannot work as it is installed; for ``elmlff doctor``.

    Attributes
    ----------
    subject : what clashes, as in ``mace-torch and deepmd-kit``
    find : tells what is wrong here, one fault a line, or "" where nothing is.  It looks at metadata of packages alone
        (`elmlff_core.plugins.requirements` helps) and imports none of them
    remedy : what to do about it, one line
    """

    subject: str
    find: Callable[[], str]
    remedy: str


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

    @hookspec
    def elmlff_presets(self) -> Iterable[Preset]:
        """Base models that users can name without configuring them."""
        return ()

    @hookspec
    def elmlff_package_clashes(self) -> Iterable[PackageClash]:
        """Clashes of packages that the author of a plugin knows of."""
        return ()
