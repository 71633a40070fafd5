"""Stack: a fitted meta-model with its base models, saved as a folder of safetensors and JSON files."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from ase import Atoms

from elmlff_core.arrays import blocks
from elmlff_core.base_models.concurrency import for_each_model
from elmlff_core.base_models.named import NamedModel, named_model
from elmlff_core.base_models.prediction import CHUNK_ATOMS, predict_checked
from elmlff_core.base_models.trust import allow, refuse_untrusted
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.progress import Progress, ProgressCallback
from elmlff_core.contracts.protocols import MetaModel, RunsOnDevice
from elmlff_core.contracts.structures import n_atoms_of
from elmlff_core.data.content import SEEN_FILE, SeenStructures
from elmlff_core.errors import DataError, ElmlffError, ForceFieldError
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.files import check_digests, read_record, refuse_links, replacing, sha256_of, write_record
from elmlff_core.fits.fit import META_FOLDER
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.meta.average import FitAverage
from elmlff_core.meta.mixture import Mixture
from elmlff_core.plugins.registry import registry
from elmlff_core.settings.config import ModelConfig
from elmlff_core.uncertainty.domain import DOMAIN_FILE, Domain
from elmlff_core.uncertainty.uncertainty import Uncertainty, UncertaintyRecord

FORMAT_VERSION = 1
STACK_FILE = "stack.json"
UNCERTAINTY_FILE = "uncertainty.json"
BUNDLE_FOLDER = "models"


class CheckpointRecord(TypedDict):
    """A checkpoint: its path, the path relative to the folder of the stack, and its SHA-256."""

    path: str
    relative: str
    sha256: str


class BaseModelRecord(TypedDict):
    """A base model of a stack."""

    name: str
    adapter: str
    worker: dict[str, Any]
    options: dict[str, Any]
    checkpoint: CheckpointRecord | None
    descriptors: NotRequired[bool]


class MetaRecord(TypedDict):
    """The meta-model of a stack; with `seeds` it is the average of as many, and of as many `with_geometry_only`.

    Names with a plus between them stand for the mean of several, whose options are under their names.
    """

    name: str
    options: dict[str, Any]
    seeds: NotRequired[int]
    with_geometry_only: NotRequired[bool]


class StackRecord(TypedDict):
    """What ``stack.json`` holds: `files` are those with fitted numbers, by path and SHA-256."""

    format_version: int
    meta: MetaRecord
    base_models: list[BaseModelRecord]
    files: dict[str, str]


@dataclass(frozen=True)
class StackPrediction(Prediction):
    """Prediction of a stack with its uncertainties, if they were calibrated on validation structures.

    Attributes
    ----------
    forces_std : (n_rows,) float64, eV/Å, standard deviation of each force component, or None
    energy_std : (n_structures,) float64, eV, or None
    outside : (n_rows,) float64, how far each atom is from what the stack was fitted on; above 1 it is outside.  None if
        that is not known
    suspect : (n_rows,) int, index of the base model that puts the atom outside, -1 for its surroundings
    """

    forces_std: np.ndarray | None = None
    energy_std: np.ndarray | None = None
    outside: np.ndarray | None = None
    suspect: np.ndarray | None = None


@dataclass
class Stack:
    """A force field made of several force fields.

    Attributes
    ----------
    base_models : base models, in the order of the meta-model's inputs
    meta_name, meta_options, meta : name, options and instance of the fitted meta-model
    uncertainty : uncertainty calibrated on validation structures, or None if it was not calibrated
    seen : training and validation structures of the fit; None if the stack was saved before they were recorded
    """

    base_models: list[NamedModel]
    meta_name: str
    meta_options: dict[str, Any]
    meta: MetaModel
    uncertainty: Uncertainty | None = None
    seen: SeenStructures | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the base models."""
        return tuple(model.name for model in self.base_models)

    @property
    def elements(self) -> frozenset[str] | None:
        """Elements that every base model supports, or None if no base model limits them."""
        known = [model.force_field.elements for model in self.base_models]
        limits = [elements for elements in known if elements is not None]
        return frozenset.intersection(*limits) if limits else None

    @property
    def alignment(self) -> EnergyCombination:
        """Offsets of the base models' energies to the reference of the training structures; empty if there are none."""
        found = getattr(self.meta, "energy", None)  # a meta-model of a plugin may align no energies
        return found if isinstance(found, EnergyCombination) else EnergyCombination()

    def features(self, structures: Sequence[Atoms], dataset: Dataset | None = None, first: int = 0) -> Features:
        """Compute the predictions of the base models for `structures`; base models in workers run at the same time.

        `first` is the index of ``structures[0]`` for messages, if they are part of a longer sequence.
        """
        predictions = for_each_model(self.base_models, lambda model: predict_checked(model, structures, first))
        return Features.from_predictions(structures, predictions, dataset)

    def close(self) -> None:
        """Stop the workers of the base models; the next prediction starts new ones."""
        for model in self.base_models:
            model.close()

    def predict(self, structures: Sequence[Atoms], progress: ProgressCallback = lambda _: None) -> StackPrediction:
        """Predict forces (eV/Å), energies (eV) if the base models give them, and the uncertainties of both.

        Many structures go through base models and meta-model in chunks, so that memory does not grow with their number.

        Raises
        ------
        ElmlffError
            A base model or the meta-model cannot be applied; the message names the structure.
        """
        parts = [found for _, found in self.chunks(structures, progress)]
        return parts[0] if len(parts) == 1 else StackPrediction.concatenate(parts)

    def chunks(
        self, structures: Sequence[Atoms], progress: ProgressCallback = lambda _: None
    ) -> Iterator[tuple[Features, StackPrediction]]:
        """Yield the predictions of the base models and of the stack for one chunk of `structures` after the other.

        Raises as `predict`.
        """
        if not len(structures):
            raise DataError("there are no structures to predict")
        for chunk, _ in blocks(n_atoms_of(structures), CHUNK_ATOMS):
            features = self.features(structures[chunk], first=chunk.start)
            yield features, self.combine(features, chunk.start)
            progress(Progress(chunk.stop, len(structures)))

    def combine(self, features: Features, first: int = 0, with_uncertainties: bool = True) -> StackPrediction:
        """Predict as `predict` does, from predictions of the base models that are there."""
        found = in_blocks(features, self.meta.predict, first).checked(features.structures, "the stack", first)
        others = self._uncertainties(features, found.forces) if with_uncertainties else {}
        return StackPrediction(found.n_atoms, found.forces, found.energy, found.stress, **others)

    def _uncertainties(self, features: Features, forces: np.ndarray) -> dict[str, np.ndarray | None]:
        """Return the other fields of `StackPrediction`, as far as they are known; raises as `predict`."""
        if self.uncertainty is None:
            return {}
        outside = self.uncertainty.outside(features, forces)
        found = {
            "forces_std": self.uncertainty.forces_std(features, self.meta, outside),
            "energy_std": self.uncertainty.energy_std(features, outside),
        }
        for name, values in found.items():
            if values is not None and not np.isfinite(values).all():
                raise ForceFieldError(f"the stack returned a non-finite {name}: is uncertainty.json damaged?")
        if outside is None:
            return found
        return found | {"outside": outside.score, "suspect": outside.suspect}

    def save(self, directory: Path, bundle: bool = False) -> None:
        """Write the stack to `directory`.

        Checkpoints of base models are referenced by path and SHA-256; with `bundle` they are copied into the folder.
        """
        directory = directory.expanduser()
        refuse_links(directory, (META_FOLDER, BUNDLE_FOLDER))
        meta_folder = directory / META_FOLDER
        meta_folder.mkdir(parents=True, exist_ok=True)
        self.meta.save(meta_folder)
        uncertainty_file = directory / UNCERTAINTY_FILE
        if self.uncertainty is not None:
            write_record(uncertainty_file, self.uncertainty.as_record())
        else:
            uncertainty_file.unlink(missing_ok=True)  # left by an earlier stack in this folder
        if self.uncertainty is not None and self.uncertainty.domain is not None:
            self.uncertainty.domain.save(directory / DOMAIN_FILE)
        else:
            (directory / DOMAIN_FILE).unlink(missing_ok=True)
        if self.seen is not None:
            self.seen.save(directory / SEEN_FILE)
        else:
            (directory / SEEN_FILE).unlink(missing_ok=True)
        # For other meta-models they would only take time.
        descriptors = any(plugin.sees_descriptors for plugin in registry().meta_models_in(self.meta_name))
        record = {
            "format_version": FORMAT_VERSION,
            "meta": _meta_record(self),
            "base_models": [_model_record(model, directory, bundle, descriptors) for model in self.base_models],
            "files": {str(path.relative_to(directory)): sha256_of(path) for path in _own_files(directory)},
        }
        write_record(directory / STACK_FILE, record, indent=1)
        # What ran here to make the stack may run here again.  Without a writable home folder the stack is whole all the
        # same, and later commands ask for --trust.
        with contextlib.suppress(ElmlffError):
            allow(self.base_models)


def load_stack(directory: str | Path, trust: bool = False, device: str = "auto") -> Stack:
    """Load a stack from the folder that `elmlff stack` wrote.

    Parameters
    ----------
    directory : the folder
    trust : allow base models of the stack to run code that its author put there (a pickled checkpoint, a calculator of
        another package, another interpreter).  Stacks that were made on this machine by this user need no permission.
    device : where the network of the meta-model runs: cpu, cuda, or auto for a CUDA GPU if there is one.  Results then
        differ by rounding in single precision.  Base models run where their own options say

    Raises
    ------
    ElmlffError
        There is no stack, its format is newer, a file or a checkpoint is missing or has changed, the stack would run
        code that the user has not allowed, or there is no such device.
    """
    directory = Path(directory).expanduser()
    path = directory / STACK_FILE
    if not path.exists():
        raise ElmlffError(f"{directory} contains no stack: there is no {STACK_FILE} in it")
    record = read_record(path, StackRecord, "restore it, or stack again")
    check_digests(directory, record["files"], "restore it, or stack again")
    models = [_load_model(entry, directory) for entry in record["base_models"]]
    if not trust:
        remedy = f"say --trust, or load_stack(..., trust=True), or once `elmlff trust {directory}`"
        refuse_untrusted(models, directory, remedy, only_inside=True)
    meta = make_meta(**record["meta"])
    meta.load(directory / META_FOLDER)
    if isinstance(meta, RunsOnDevice):
        meta.to(device)
    uncertainty = _load_uncertainty(directory, DOMAIN_FILE in record["files"])
    seen = SeenStructures.load(directory / SEEN_FILE) if SEEN_FILE in record["files"] else None
    return Stack(models, record["meta"]["name"], record["meta"]["options"], meta, uncertainty, seen)


def _own_files(directory: Path) -> list[Path]:
    """Return the files with fitted numbers: damage to them would not be noticed otherwise."""
    files = [path for path in sorted((directory / META_FOLDER).rglob("*")) if path.is_file()]
    others = (UNCERTAINTY_FILE, DOMAIN_FILE, SEEN_FILE)
    return files + [path for name in others if (path := directory / name).exists()]


def _load_uncertainty(directory: Path, has_domain: bool) -> Uncertainty | None:
    """Read the uncertainties of a stack; None if it was saved without."""
    path = directory / UNCERTAINTY_FILE
    if not path.exists():
        return None
    domain = Domain.load(directory / DOMAIN_FILE) if has_domain else None
    return Uncertainty.from_record(read_record(path, UncertaintyRecord, "restore it, or stack again"), domain)


def _meta_record(stack: Stack) -> MetaRecord:
    record: MetaRecord = {"name": stack.meta_name, "options": stack.meta_options}
    members = stack.meta.members if isinstance(stack.meta, Mixture) else [stack.meta]
    averages = [member for member in members if isinstance(member, FitAverage)]
    if averages:  # older versions read stacks of one fit
        # Members of a mixture are averages of as many seeds, or of one, as those that have no seed.
        record["seeds"] = max(len(average.members) for average in averages)
        if any(average.on_geometry for average in averages):
            record["with_geometry_only"] = True
    return record


def _model_record(model: NamedModel, directory: Path, bundle: bool, descriptors: bool) -> BaseModelRecord:
    checkpoint: CheckpointRecord | None = None
    if model.checkpoint is not None:
        source = model.checkpoint.resolve()
        if bundle:
            target = directory / BUNDLE_FOLDER / f"{model.name}{''.join(source.suffixes)}"
            target.parent.mkdir(exist_ok=True)
            with replacing(target) as partial:
                shutil.copyfile(source, partial)
            source = target.resolve()
        inside = source.is_relative_to(directory.resolve())
        checkpoint = {
            "path": str(source.relative_to(directory.resolve()) if inside else source),
            # Runs and models are often moved together: the relative path may then exist when the absolute one does not.
            "relative": str(source.relative_to(directory.resolve(), walk_up=True)),
            "sha256": sha256_of(source),
        }
    record: BaseModelRecord = {
        "name": model.name,
        "adapter": model.config.adapter,
        "worker": _worker_record(model.config),
        "options": model.options.model_dump(mode="json"),
        "checkpoint": checkpoint,
    }
    if descriptors and model.config.descriptors:
        record["descriptors"] = True
    return record


def _worker_record(settings: ModelConfig) -> dict[str, Any]:
    python = settings.python
    if python is not None and "/" in python:
        # Not resolved: in a virtual environment this is a link, and its target belongs to another environment.
        python = str(Path(python).absolute())
    return {"python": python, "timeout": settings.timeout, "threads": settings.threads}


def _load_model(entry: BaseModelRecord, directory: Path) -> NamedModel:
    checkpoint = None
    if (stored := entry["checkpoint"]) is not None:
        candidates = [directory / stored["path"], directory / stored["relative"]]
        checkpoint = next((path for path in candidates if path.is_file()), None)
        if checkpoint is None:
            raise ElmlffError(
                f"the checkpoint of model '{entry['name']}' is missing: {candidates[0]}; "
                "use `elmlff stack --bundle` for stacks that are moved to other folders or machines"
            )
        if sha256_of(checkpoint) != stored["sha256"]:
            raise ElmlffError(
                f"the checkpoint of model '{entry['name']}' has changed since the stack was fitted: {checkpoint}; "
                "restore it, or run `elmlff stack` again"
            )
    settings = ModelConfig(
        adapter=entry["adapter"],
        checkpoint=checkpoint,
        trust=True,  # asked for as a whole, before any model of the stack is loaded
        options=entry["options"],
        descriptors=entry.get("descriptors"),
        **entry["worker"],
    )
    return named_model(entry["name"], settings)
