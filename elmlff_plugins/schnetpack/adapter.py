"""Adapters `schnet` and `painn`: networks of SchNetPack, trained with its task in Lightning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from packaging.version import Version

from elmlff_core.contracts.hookspecs import ForceFieldPlugin, LoadRequest, PackageClash, Preset, hookimpl
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import TrainingLength, TrainingRequest
from elmlff_core.errors import ForceFieldError
from elmlff_core.plugins.requirements import installed_version
from elmlff_core.plugins.toolkit import backend_errors, check_elements, existing_checkpoint, fingerprint
from elmlff_plugins import references
from elmlff_plugins.schnetpack.options import SchNetPackOptions

if TYPE_CHECKING:
    import torch

SAFETENSORS = ".safetensors"
SCALARS = "scalar_representation"


class SchNetPackForceField:
    """A SchNet or PaiNN model.

    Parameters
    ----------
    request : request with a checkpoint, either ``.safetensors`` of elmlff or a model file of SchNetPack (a pickle)
    adapter : ``schnet`` or ``painn``

    Raises
    ------
    ForceFieldError
        The checkpoint is a pickle that is not trusted, or SchNetPack cannot load it.
    """

    def __init__(self, request: LoadRequest, adapter: str) -> None:
        import torch

        self.name, self._describe = request.name, request.descriptors
        self._adapter = adapter
        options: SchNetPackOptions = request.options
        checkpoint = existing_checkpoint(request.checkpoint, self.name, adapter)
        self._dtype: torch.dtype = getattr(torch, options.precision)
        on_gpu = options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._batch_pairs = options.batch_pairs or (16_384 if on_gpu else 4_096)
        self.elements: frozenset[str] | None = None
        with backend_errors(self.name, adapter, "import SchNetPack"):
            from elmlff_plugins.schnetpack.model import load_safetensors, set_precision
        if checkpoint.suffix == SAFETENSORS:
            with backend_errors(self.name, adapter, f"load {checkpoint}"):
                model, architecture = load_safetensors(checkpoint)
            self.elements = frozenset(architecture.elements)
        else:
            model = _load_pickle(checkpoint, request, adapter)
        with backend_errors(self.name, adapter, f"load {checkpoint}"):
            self._check_family(model, checkpoint)
            set_precision(model, self._dtype)
            self._model = _with_stress(model).to(self._device).eval()
            if self._describe:  # what the last layer computes the energy from
                self._model.model_outputs = [*self._model.model_outputs, SCALARS]
            self.cutoff: float | None = float(model.representation.cutoff)
        self.fingerprint = schnetpack_fingerprint(request)

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Predict energies and forces, and stresses if all structures are periodic in three directions."""
        from elmlff_plugins.schnetpack.model import SampleMaker, batches

        check_elements(structures, self.elements, self.name)
        assert self.cutoff is not None
        energy: list[np.ndarray] = []
        forces: list[np.ndarray] = []
        stress: list[np.ndarray] = []
        descriptors: list[np.ndarray] = []
        has_stress = all(atoms.pbc.all() for atoms in structures)
        samples = map(SampleMaker(self.cutoff, self._dtype), structures)
        done = 0
        for batch, n_atoms in batches(samples, self._batch_pairs):
            action = f"evaluate structures {done} to {done + len(n_atoms) - 1}"
            with backend_errors(self.name, self._adapter, action):
                results = self._model({key: value.to(self._device) for key, value in batch.items()})
            results = {key: value.detach().cpu().numpy().astype(np.float64) for key, value in results.items()}
            energy.append(results["energy"].reshape(-1))
            forces.extend(np.split(results["forces"], np.cumsum(n_atoms)[:-1]))
            if self._describe:
                descriptors.append(results[SCALARS])
            if has_stress:  # without a volume the stress would be infinite
                stress.append(full_3x3_to_voigt_6_stress(results["stress"]))
            done += len(n_atoms)
        return Prediction.from_lists(
            forces,
            np.concatenate([np.zeros(0), *energy]),
            np.concatenate([np.zeros((0, 6)), *stress]) if has_stress else None,
            descriptors,
        )

    def _check_family(self, model: Any, checkpoint: Path) -> None:
        found = type(model.representation).__name__.lower()
        if found != self._adapter:
            raise ForceFieldError(
                f"model '{self.name}': {checkpoint} holds a {type(model.representation).__name__}; "
                f'set adapter = "{found}" instead of "{self._adapter}"'
            )


def _load_pickle(checkpoint: Path, request: LoadRequest, adapter: str) -> Any:
    if not request.trust:
        raise ForceFieldError(
            f"model '{request.name}': {checkpoint} is a Python pickle, and loading it runs any code in it; "
            f"if you trust its origin, set trust = true under [models.{request.name}]"
        )
    with backend_errors(request.name, adapter, f"load {checkpoint}"), warnings.catch_warnings():
        # Files of SchNetPack 2.0 have no version; the loader warns of this and then converts them.
        warnings.filterwarnings("ignore", message="Model was saved without version information")
        from schnetpack.utils import load_model

        return load_model(str(checkpoint), device="cpu")


def _with_stress(model: Any) -> Any:
    """Return `model` with stress as an additional output, which costs almost no time."""
    from schnetpack.atomistic import Strain
    from schnetpack.md.utils import activate_model_stress

    if any(isinstance(module, Strain) for module in model.input_modules):
        return model
    return activate_model_stress(model, "stress")


class SchNetPackTrainer:
    """Trains a network of SchNetPack with its AtomisticTask."""

    def __init__(self, adapter: str) -> None:
        self._adapter = adapter

    def length(self, options: SchNetPackOptions, n_structures: int) -> TrainingLength:
        """Return whole epochs and their steps."""
        per_epoch = -(-n_structures // options.batch_size)
        if options.epochs is not None:
            return TrainingLength(options.epochs * per_epoch, float(options.epochs))
        epochs = -(-options.steps // max(1, per_epoch))
        n_steps = epochs * per_epoch
        note = "" if n_steps == options.steps else f"{options.steps} steps, rounded up to whole epochs"
        return TrainingLength(n_steps, float(epochs), note)

    def train(self, request: TrainingRequest) -> Path:
        """Train a model; an interrupted training with the same settings and data resumes after its last whole epoch."""
        from elmlff_plugins.schnetpack.training import train

        with backend_errors(request.name, self._adapter, "be trained"):
            length = self.length(request.options, len(request.train))
            return train(request, self._adapter, int(length.epochs))


def schnetpack_fingerprint(request: LoadRequest) -> str:
    """Return the fingerprint of a model without importing SchNetPack."""
    checkpoint = existing_checkpoint(request.checkpoint, request.name, "schnetpack")
    return fingerprint("schnetpack/1", "schnetpack", checkpoint, request.options.precision)


def checkpoint_pickle(request: LoadRequest) -> list[str]:
    """SchNetPack's own files are pickles; elmlff's are safetensors, which hold numbers."""
    checkpoint = request.checkpoint
    return [] if checkpoint is None or checkpoint.suffix == SAFETENSORS else [f"the Python pickle {checkpoint}"]


def _loader(adapter: str) -> Callable[[LoadRequest], SchNetPackForceField]:
    return lambda request: SchNetPackForceField(request, adapter)


@hookimpl
def elmlff_force_fields() -> Iterator[ForceFieldPlugin]:
    """The adapters `schnet` and `painn`."""
    summaries = {
        "schnet": "SchNet of SchNetPack: continuous-filter convolutions",
        "painn": "PaiNN of SchNetPack: equivariant message passing",
    }
    papers = {"schnet": references.SCHNET, "painn": references.PAINN}
    for adapter, summary in summaries.items():
        yield ForceFieldPlugin(
            name=adapter,
            summary=summary,
            options=SchNetPackOptions,
            load=_loader(adapter),
            trainer=SchNetPackTrainer(adapter),
            fingerprint=schnetpack_fingerprint,
            runs=checkpoint_pickle,
            requires=("schnetpack",),
            extra="schnet",
            describes=True,
            citation=(references.SCHNETPACK, papers[adapter]),
        )


@hookimpl
def elmlff_presets() -> Iterator[Preset]:
    """The SchNet and PaiNN models of the paper."""
    networks = {
        "sch1": ("schnet", "SchNet", 128),
        "sch2": ("schnet", "SchNet", 64),
        "sch3": ("schnet", "SchNet", 256),
        "painn": ("painn", "PaiNN", 128),
    }
    for name, (adapter, network, n_atom_basis) in networks.items():
        yield Preset(
            name=name,
            adapter=adapter,
            summary=f"{network}, {n_atom_basis} features",
            options={"n_atom_basis": n_atom_basis},
            budgets={
                "quick": {"steps": 2500, "batch_size": 10},
                "long": {"steps": 7500, "batch_size": 10},
                "paper": {"epochs": 1000, "batch_size": 10},
            },
            default=name == "painn",
        )


@hookimpl
def elmlff_package_clashes() -> Iterator[PackageClash]:
    """Versions of SchNetPack that cannot be imported."""
    remedy = 'on Python 3.12 or newer: pip install "elmlff[schnet]"'
    yield PackageClash("schnetpack before 2.2", _is_old, remedy)


def _is_old() -> str:
    found = installed_version("schnetpack")
    if found is None or Version(found) >= Version("2.2"):
        return ""
    return "it needs versions of e3nn and hydra that cannot be imported here; pip installs it on Python 3.11 and older"
