"""The interface for plugins: five hooks, each of which yields typed records.

A plugin is a module named in the entry-point group ``elmlff`` that defines one or more of the hooks::

    from elmlff_core.contracts.hookspecs import ForceFieldPlugin, hookimpl

    @hookimpl
    def elmlff_force_fields():
        yield ForceFieldPlugin(name="mine", summary="...", options=Options, load=load)

The module must not import a backend at module level: `elmlff plugins` lists plugins without importing backends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pluggy
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field

from elmlff_core.contracts.protocols import BaseForceField, MetaModel, TrainableAdapter

PROJECT = "elmlff"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


LARGEST_CUTOFF = 100.0  # Å; beyond, neighbour lists fill any memory
SMALLEST_CUTOFF = 0.1  # Å; below, no two atoms are neighbours, and neighbour lists refuse it
Cutoff = Annotated[float, Field(ge=SMALLEST_CUTOFF, le=LARGEST_CUTOFF)]  # the type of any cutoff in options, Å


class Options(BaseModel):
    """Base class for the options of an adapter or a meta-model; unknown keys are refused."""

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
    descriptors : whether its predictions are to have descriptors; only for adapters that say `describes`
    """

    name: str
    checkpoint: Path | None
    options: Any
    trust: bool = False
    descriptors: bool = False


@dataclass(frozen=True)
class InputsRequest:
    """Everything an adapter needs to write input files for the program that runs its models.

    Attributes
    ----------
    checkpoint : a trained model
    options : the adapter's options model
    structure : where molecular dynamics starts
    temperature : K
    timestep : fs
    directory : an existing folder for the files
    """

    checkpoint: Path
    options: Any
    structure: Atoms
    temperature: float
    timestep: float
    directory: Path


@dataclass(frozen=True)
class ForceFieldPlugin:
    """An adapter: the code that makes base force fields of one family.

    Attributes
    ----------
    name : name of the adapter, as in ``adapter = "dp"``
    summary : one line
    options : pydantic model of its options (a subclass of `Options`)
    load : returns a base force field; imports the backend when called
    trainer : trains a base force field, or None for adapters that only load
    fingerprint : returns the fingerprint of the force field that `load` would return, without importing the backend:
        where all predictions are cached, nothing else is needed.  None if the force field has to be loaded for it
    requires : modules it needs.  Of a dotted name, listings look only for the top-level package, without importing it;
        ``elmlff plugins --check`` and ``elmlff doctor`` import the full name.  Best give the modules that the adapter
        itself imports
    extra : the extra of the plugin's own package that installs them, as in ``pip install "elmlff[deepmd]"``, or ""
    standalone : module with a function ``load`` like the one here, for workers under interpreters without elmlff, or
        "" if the adapter needs elmlff.  It may import numpy, ase, its own package, `elmlff_core.errors`,
        `elmlff_core.contracts.prediction` and `elmlff_core.plugins.toolkit`, and must run under Python 3.9; it gets
        the options as plain attributes
    cutoff_option : name of the option that holds the cutoff in Å; listings show it if there is such an option
    thread_variables : environment variables whose product is the number of threads that the backend runs at the same
        time, for ``elmlff doctor``
    runs : function from a request to descriptions of the code that loading or using it would run beside the adapter's
        own, such as a pickled checkpoint or a callable named in the options; empty if there is none.  It imports
        nothing.  None if the adapter cannot tell: its models in stacks of others then need the user's trust
    citation : the papers to cite for its models, each as one BibTeX entry; for ``elmlff cite``
    inputs : writes input files for molecular dynamics with a model in the program that is made for it, and returns the
        name of that program; for ``elmlff distill``.  None if there is no such program
    takes_weights : whether `trainer` follows the weights of structures (`Dataset.weight`); others ignore them
    describes : whether its models can describe atoms: predictions then have descriptors if the request asks for them
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
    citation: tuple[str, ...] = ()
    inputs: Callable[[InputsRequest], str] | None = None
    takes_weights: bool = False
    describes: bool = False


@dataclass(frozen=True)
class MetaModelPlugin:
    """A meta-model.

    Attributes
    ----------
    name : name of the meta-model, as in ``--meta gat``
    summary : one line
    options : pydantic model of its options (a subclass of `Options`)
    make : returns the meta-model, not fitted, for validated options
    budgets : options that each budget (``quick``, ``long``, ``paper``) sets, unless the user gives them; without any
        for ``long``, those of ``quick`` hold
    trained : whether it is trained in epochs (and so has a training length) or fitted in closed form
    training : its own defaults for the training settings (`TrainingConfig`), such as ``{"batch_size": 8}``
    requires, extra : as for `ForceFieldPlugin`
    maskable : whether it can be fitted with base models hidden at random, as the method `masked` of a sweep does
    precisions : values of the training setting `precision` with which it can be trained
    stress : whether it predicts stresses of periodic structures if every base model does
    conservative : whether its forces are the negative gradient of its energy if those of the base models are, so that
        molecular dynamics conserves the energy
    needs_energies : whether it cannot be fitted without energies of the labels and of every base model
    sees_geometry : whether it sees the surroundings of atoms, as all do that are trained in epochs: then it can be
        fitted without base models too, and its mean with others that do is worth making
    sees_descriptors : whether it sees descriptors of base models (`Features.descriptors`)
    citation : as for `ForceFieldPlugin`
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
    precisions: tuple[str, ...] = ("float32", "bfloat16")
    stress: bool = False
    conservative: bool = False
    needs_energies: bool = False
    sees_geometry: bool = False
    sees_descriptors: bool = False
    citation: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preset:
    """A configured base model: its name is enough to train and stack it.

    Attributes
    ----------
    name : name of the model, as in ``--models dp1``
    adapter : name of the adapter, which may belong to another plugin
    summary : one line
    options : options of the adapter that define the architecture
    budgets : for ``quick``, ``long`` and ``paper``, the options that replace those in `options`: how long and how to
        train; without any for ``long``, those of ``quick`` hold
    default : whether it is stacked if the user names no base models.  Set it with care: after the plugin is installed,
        the default stack has another set of base models than before
    order : its place in listings and among the default base models, lowest first; presets of the same order are listed
        in the order of registration
    citation : papers to cite beside those of the adapter, as for `ForceFieldPlugin`
    environment : name of the `EnvironmentRecipe` in which it runs, or "" for the environment of elmlff
    elements : chemical symbols that a pretrained model knows; empty if it is trained, or knows any element
    level_of_theory : what a pretrained model was trained to, such as ``PBE, Materials Project``
    licence : licence of the weights of a pretrained model
    download : what the model fetches from the network when it is first loaded, or ""
    """

    name: str
    adapter: str
    summary: str
    options: Mapping[str, Any]
    budgets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    default: bool = False
    order: int = 0
    citation: tuple[str, ...] = ()
    environment: str = ""
    elements: tuple[str, ...] = ()
    level_of_theory: str = ""
    licence: str = ""
    download: str = ""


@dataclass(frozen=True)
class EnvironmentRecipe:
    """A virtual environment that ``elmlff env create`` makes, for base models whose packages clash with others.

    Attributes
    ----------
    name : its name, as in ``elmlff env create NAME`` and ``python = "env:NAME"``
    summary : one line
    requirements : what is installed, pinned, such as ``chgnet==0.4.2``; numpy and ase are needed there
    python : version of Python that it needs, such as ``>=3.10,<3.13``, or "" for any
    gigabytes : about how much space it takes, which is said before it is made
    """

    name: str
    summary: str
    requirements: tuple[str, ...]
    python: str = ""
    gigabytes: float = 0.0


@dataclass(frozen=True)
class PackageClash:
    """Packages that cannot share an environment, or a package that cannot work as installed; for ``elmlff doctor``.

    Attributes
    ----------
    subject : the packages that clash, as in ``mace-torch and deepmd-kit``
    find : returns the faults found in this environment, one per line, or "".  It reads only the metadata of packages
        (see `elmlff_core.plugins.requirements`) and does not import them
    remedy : how to fix it, one line
    """

    subject: str
    find: Callable[[], str]
    remedy: str


class HookSpecs:
    """The hooks of elmlff."""

    @hookspec
    def elmlff_force_fields(self) -> Iterable[ForceFieldPlugin]:
        """Yield adapters for families of base force fields."""
        return ()

    @hookspec
    def elmlff_meta_models(self) -> Iterable[MetaModelPlugin]:
        """Yield meta-models, which learn from the predictions of base models."""
        return ()

    @hookspec
    def elmlff_presets(self) -> Iterable[Preset]:
        """Yield base models that users can name without configuring them."""
        return ()

    @hookspec
    def elmlff_environments(self) -> Iterable[EnvironmentRecipe]:
        """Yield virtual environments in which base models run whose packages clash with others."""
        return ()

    @hookspec
    def elmlff_package_clashes(self) -> Iterable[PackageClash]:
        """Yield clashes of packages that the author of the plugin knows."""
        return ()
